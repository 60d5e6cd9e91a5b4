"""What Secrets Manager can hold, and where it is not to be written: asked before anything is."""

from __future__ import annotations

from strongroom.errors import SourceError
from strongroom.model import Media, Secret, SecretVersion
from strongroom.sources.aws.described import Described
from strongroom.sources.aws.options import AwsOptions
from strongroom.sources.aws.reading import valid_name
from strongroom.sources.aws.secrets import AwsFacts, facts_of, live, region_of
from strongroom.sources.history import check_writable
from strongroom.words import plural

LARGEST = 65_536
"""Bytes of a value."""
_HINT_NAME = "It takes ASCII letters, digits and /_+=.@- (at most 512). Nothing of this batch was written."
_HINT_EXCLUDE = "Nothing of this batch was written. Exclude the secret, or restore it elsewhere."


def check(secret: Secret) -> None:
    """Refuse what the service cannot hold as it is."""
    check_writable(secret)
    name, versions = secret.name, live(secret)
    if not valid_name(name):
        raise SourceError(f"{name!r} cannot be the name of a secret of Secrets Manager", hint=_HINT_NAME)
    if not versions and facts_of(secret) is None:
        raise SourceError(f"secret '{name}' has no version with a value to write", hint=_HINT_EXCLUDE)
    if versions and versions[-1] is not secret.current:
        raise SourceError(
            f"the newest version of secret '{name}' is deleted, which Secrets Manager cannot express: "
            "an older one would come to life",
            hint=_HINT_EXCLUDE,
        )
    for version in versions:
        if problem := _problem(version):
            raise SourceError(f"version {version.number} of secret '{name}' {problem}", hint=_HINT_EXCLUDE)


def _problem(version: SecretVersion) -> str:
    value = plain(version)
    if not 1 <= len(value) <= LARGEST:
        return f"has {plural(len(value), 'byte')}; Secrets Manager holds 1 to {LARGEST:,}"
    if version.media is not Media.BINARY and not _is_text(value):
        return "is called text and is not UTF-8"
    return ""


def check_place(secret: Secret, found: Described, region: str) -> None:
    """Refuse to write where it would do harm, or not be taken."""
    if found.primary_region not in (None, region):
        raise SourceError(
            f"secret '{secret.name}' is a replica here: only its primary can be written",
            hint=f"Restore it into region {found.primary_region}.",
        )
    if not live(secret) and found.stages and not found.deleted:
        raise SourceError(
            f"secret '{secret.name}' is in use, and the backup holds no value of it: "
            "it was scheduled for deletion when the backup was made",
            hint="Nothing of this batch was written. Exclude it, then repeat.",
        )


def check_key(name: str, facts: AwsFacts | None, options: AwsOptions) -> None:
    """Refuse a new secret under a key of another region: the service takes its own region's only."""
    key = facts.kms_key_id if facts and not options.kms_key_id else None
    region = region_of(key) if key else None
    if region in (None, options.region):
        return
    raise SourceError(
        f"secret '{name}' is sealed under a key of region {region}, which {options.region} cannot use",
        hint="Nothing of this batch was written. Name a key for what is restored: kms_key_id in the source's "
        "settings.",
    )


def given(version: SecretVersion) -> dict[str, object]:
    """Return a value as a request takes it."""
    value = plain(version)
    return {"SecretBinary": value} if version.media is Media.BINARY else {"SecretString": value.decode()}


def plain(version: SecretVersion) -> bytes:
    """Return the bytes of a version that has a value."""
    assert version.value is not None  # only live versions are written
    return version.value.reveal()


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True
