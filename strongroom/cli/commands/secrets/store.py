"""list, get, set, import and delete: secrets in the local store, a file or a backup."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from strongroom.cli.commands.secrets.arguments import GetSecret, ListSecrets
from strongroom.cli.shared import options, sources
from strongroom.cli.shared.access_log import ValueHolder, reveal_value
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.errors import UsageError
from strongroom.model import ListedSecret, Secret, SecretVersion, VersionState
from strongroom.operations.restore.restorable import at_version, spelled_versions
from strongroom.sheet import Lines, Pairs, Sheet, Table
from strongroom.sources.batches import matches
from strongroom.sources.errors import SecretNotFound
from strongroom.words import did_you_mean

# -- What list and get answer, wherever the secrets are from ------------------------------------


def answer_names(
    entries: Iterable[ListedSecret], selected: options.SelectionOptions, *, nothing: str
) -> Answer:
    """Answer with the names and tags of those that the filter selects; ``nothing`` says that none is."""
    selection = selected.selection()
    named = sorted((entry.name, entry.tags or {}) for entry in entries if matches(selection, entry))
    rows = [(name, _tags(tags)) for name, tags in named]
    return Answer(
        record={"secrets": [{"name": name, "tags": tags} for name, tags in named]},
        sheet=Sheet(
            parts=[
                Table(("Name", "Tags"), rows, nothing=nothing),
                Lines([plural(len(named), "secret")] if named else []),
            ]
        ),
    )


def _tags(tags: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(tags.items()))


def asked_version(secret: Secret, given: GetSecret, where: str) -> SecretVersion:
    """Return the version that is asked for.

    Raises:
        VersionNotFound: there is none of that number.
        UsageError: its value is to be shown, and there is none.
    """
    version = at_version(secret, given.version, where=where).current
    if given.show_value and version.value is None:
        why = version.state if version.state is not VersionState.LIVE else "backed up without values"
        raise UsageError(
            f"There is no value of '{secret.name}' to show: version {version.number} is {why}.",
            hint=f"It has these versions: {spelled_versions(secret)}.",
        )
    return version


def answer_secret(
    secret: Secret, where: ValueHolder, given: GetSecret, output: Output, installation: InstallationPlace
) -> Answer | None:
    """Answer with what is known of a secret, or print the value of the version that is asked for and nothing
    else."""
    version = asked_version(secret, given, f"{where.words[0].upper()}{where.words[1:]}")
    value: bytes | None = None
    if given.show_value and version.value is not None:
        value = reveal_value(
            version.value,
            of=(secret.name, version.number),
            held_by=where,
            output=output,
            installation=installation,
        )
    if value is not None and not output.json:
        output.raw(value)
        return None
    sheet = Sheet(parts=[Pairs(list(_pairs(secret, version)), secret.name)])
    return Answer(record=_document(secret, version, value), sheet=sheet)


def named(name: str, secrets: Sequence[Secret], where: str) -> Secret:
    """Return the secret of that name. Raises SecretNotFound."""
    found = next((secret for secret in secrets if secret.name == name), None)
    return found or missing(name, where, did_you_mean(name, (secret.name for secret in secrets)))


def missing(name: str, where: str, near: str) -> Secret:
    """Raise SecretNotFound; ``near`` asks whether another name was meant."""
    raise SecretNotFound(
        f"There is no secret '{name}' in {where}.", hint=f"{near}Names are case-sensitive, and complete."
    )


def _document(secret: Secret, version: SecretVersion, value: bytes | None) -> dict[str, Any]:
    """Return a secret for machines. Free-form metadata can be a secret too, so it goes with the value."""
    rotation = secret.rotation
    document: dict[str, Any] = {
        "name": secret.name,
        "type": secret.type,
        "tags": secret.tags,
        "version": version.number,
        "versions": [
            {"number": v.number, "state": v.state, "created_at": v.created_at} for v in secret.versions
        ],
        "created_at": secret.created_at,
        "updated_at": secret.updated_at,
        "expires_at": secret.expires_at,
        "rotation": None if rotation is None else {"days": rotation.days, "enabled": rotation.enabled},
    }
    if value is not None:
        document |= {"metadata": secret.metadata, **_encoded(value)}
    return document


def _encoded(value: bytes) -> dict[str, str]:
    """Return a value as JSON can hold it."""
    try:
        return {"value": value.decode(), "encoding": "utf-8"}
    except UnicodeDecodeError:
        return {"value": base64.b64encode(value).decode(), "encoding": "base64"}


def _no_value(version: SecretVersion) -> str:
    if version.state is VersionState.LIVE:
        return "a metadata-only backup has no values"
    return f"none: this version is {version.state}"


def _pairs(secret: Secret, current: SecretVersion) -> Iterator[tuple[str, object]]:
    rotation = secret.rotation
    yield "type", secret.type
    yield "tags", _tags(secret.tags)
    written = f", written {current.created_at}" if current.created_at else ""
    yield "version", f"{current.number}, {current.state}{written}"
    if len(secret.versions) > 1:
        yield "versions", f"{spelled_versions(secret)} (--version shows another one)"
    yield "created", secret.created_at
    yield "updated", secret.updated_at
    yield "expires", secret.expires_at
    if rotation is not None:
        yield "rotation", f"every {plural(rotation.days, 'day')}" + ("" if rotation.enabled else " (off)")
    yield (
        "value",
        _no_value(current) if current.value is None else "(give --show-value)",
    )


# -- list and get in the local store, and list in another source --------------------------------


def list_in_store(given: ListSecrets, output: Output) -> Answer:
    source = sources.source_of(given.source, place.find())
    filtered = given.selected != options.SelectionOptions()
    nothing = "No secret fits the filter." if filtered else "The store is clean: it holds no secret."
    return answer_names(source.list(with_tags=True), given.selected, nothing=nothing)


def get_from_store(given: GetSecret, output: Output) -> Answer | None:
    installation = place.find()
    store = sources.local_store(installation)
    try:
        secret = store.get(given.name)
    except SecretNotFound as error:
        hint = did_you_mean(given.name, (entry.name for entry in store.list())) + error.hint
        raise SecretNotFound(error.message, hint=hint) from None
    return answer_secret(secret, ValueHolder("the local store", options.LOCAL), given, output, installation)
