"""Whether the digests of two backups are of one key: else each value would pass for another one."""

from __future__ import annotations

from itertools import islice

from strongroom.model import Secret
from strongroom.operations.find.facts import SearchableBackup, SecretFacts, facts_of

TRIED = 20
"""Secrets that are looked at until one tells: each costs two ranged reads."""


def same_digest_key(before: SearchableBackup, after: SearchableBackup) -> bool:
    """Tell whether equal values have equal digests in two backups.

    A digest says nothing of its key. Another installation has another one, and so has this one since it lost
    its own. Values that are equal and have other digests tell. Where no value is equal, digests differ as
    they should.
    """
    if before.manifest.source != after.manifest.source:
        return False
    held = (facts_of(listed, digests) for listed, digests in before.digested_rows())
    for secret_facts in islice((facts for facts in held if facts.digest), TRIED):
        other = after.digested_row(secret_facts.name)
        if other is not None and (now := facts_of(*other)).version == secret_facts.version and now.digest:
            if now.digest == secret_facts.digest:
                return True
            if same_value(before, after, secret_facts.name, secret_facts.version):
                return False
    return True


def overwritten(
    before: SearchableBackup, after: SearchableBackup, was: SecretFacts, now: SecretFacts
) -> bool:
    """Tell whether a value truly changed under the same version's number; the values themselves tell."""
    return was.digest != now.digest and not same_value(before, after, now.name, now.version)


def same_value(before: SearchableBackup, after: SearchableBackup, name: str, version: int) -> bool:
    """Compare one version's value in two backups, in constant time; it is shown nowhere."""
    found = before.find(name), after.find(name)
    return None not in found and _value(found[0], version) == _value(found[1], version)


def _value(secret: Secret | None, version: int) -> object:
    return (
        next(
            (secret_version.value for secret_version in secret.versions if secret_version.number == version),
            None,
        )
        if secret
        else None
    )
