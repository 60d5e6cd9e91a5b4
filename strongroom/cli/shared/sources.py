"""Which source a command means: ``local``, ``files:PATH[:format]``, or a configured name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from shlex import quote
from typing import TYPE_CHECKING, Any

from strongroom.cli.shared.options import LOCAL
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.errors import ConfigError, UsageError
from strongroom.model import Secret, Selection
from strongroom.sources import Destination, Source
from strongroom.sources.batches import matches
from strongroom.sources.errors import EmptySource
from strongroom.system.lazy import batched
from strongroom.words import nearest

if TYPE_CHECKING:
    from strongroom.sources.local import LocalStore

BATCH = 1000
FILES = "files:"
_READ_ONLY = frozenset({"files", "raft"})
_ALIASES = {"directory": "tree", "auto": None}


def source_of(spec: str, place: InstallationPlace) -> Source:
    """Return the source that a person named.

    Raises:
        UsageError: it is none.
    """
    configured = place.section("sources")
    if spec.startswith(FILES):
        return _files(*_split(spec.removeprefix(FILES)))
    if spec in configured:
        return _configured(spec, configured[spec], place)
    if spec == LOCAL:
        return local_store(place)
    known = nearest(spec, {LOCAL, *configured})
    raise UsageError(f"There is no source '{spec}'.", hint=f"{known} Or give files:PATH[:FORMAT].")


@contextmanager
def naming_others(spec: str, place: InstallationPlace) -> Iterator[None]:
    """Say which sources are configured, where the local store holds nothing and nobody need have meant it."""
    try:
        yield
    except EmptySource as error:
        if spec == LOCAL and (others := sorted(set(place.section("sources")) - {LOCAL})):
            error.hint += (
                " Without --source, the local store is meant. To take another one: "
                f"{', '.join(f'--source {quote(name)}' for name in others)}"
            )
        raise


def refuse_whole_server(name: str, place: InstallationPlace) -> None:
    """Refuse to look at single secrets of a source that is a server as a whole. Raises UsageError."""
    if place.section("sources").get(name, {}).get("kind") == "raft":
        raise UsageError(
            f"'{name}' is a server as a whole: to look at it, a snapshot would have to be taken.",
            hint="Name the secrets in it, as a source of kind 'vault'.",
        )


def destination_of(spec: str, place: InstallationPlace) -> Destination:
    """Return what a person wants to restore into. Files are read only.

    Raises:
        UsageError: it is none.
    """
    if spec == LOCAL:
        return local_store(place)
    configured = place.section("sources")
    writable = {name for name, table in configured.items() if takes_writes(table)}
    if spec not in writable:
        known = nearest(spec, {LOCAL, *writable})
        if spec in configured:
            raise UsageError(f"Nothing can be restored into '{spec}': it is only read.", hint=known)
        raise UsageError(f"There is no '{spec}' to restore into.", hint=known)
    from strongroom.config import load_settings
    from strongroom.wiring import adapters

    return adapters.destination(spec, load_settings())


def takes_writes(table: Mapping[str, Any]) -> bool:
    """Tell whether a source of these settings can be restored into, but for a server as a whole.

    The record of another package is asked. Where that cannot be, whoever writes there is told why.
    """
    from strongroom.config import registry
    from strongroom.config.kinds import SourceKind
    from strongroom.system.errors import PluginBroken

    kind = table.get("kind")
    if not isinstance(kind, str) or kind in registry.OWN["sources"]:
        return kind not in _READ_ONLY
    try:
        record = registry.find_kind("sources", kind, SourceKind)
    except PluginBroken:
        return True
    return record is None or not issubclass(record, SourceKind) or record.WRITABLE


def way_into(source: str, place: InstallationPlace) -> str:
    """Return the name under which secrets are written into a source: its own, unless another one is marked as
    the destination on the same server. Empty if nothing here writes there."""
    configured = place.section("sources")
    table = configured.get(source, {"kind": LOCAL} if source == LOCAL else {"kind": "files"})
    if not takes_writes(table):
        return ""
    same = (
        name for name, other in configured.items() if other.get("destination") and _same(other, table, place)
    )
    return source if table.get("destination") else next(same, source)


def _same(settings: Mapping[str, Any], other: Mapping[str, Any], place: InstallationPlace) -> bool:
    """Tell whether two sources are the same server, account or file."""
    return _where(settings, place) == _where(other, place)


def _where(table: Mapping[str, Any], place: InstallationPlace) -> tuple[object, ...]:
    vault = place.section("vaults").get(str(table.get("vault")), {})
    of_vault = (vault.get("address"), vault.get("namespace"))
    return (*of_vault, *(table.get(key) for key in ("kind", "region", "endpoint_url", "path")))


def changing_store(place: InstallationPlace) -> LocalStore:
    """Return the local store of this installation, to write into: not into one that an older version left."""
    from strongroom.keys import rolelist

    rolelist.require_certificates(place.state_dir)
    return local_store(place)


def local_store(place: InstallationPlace) -> LocalStore:
    """Return the local store of this installation."""
    from strongroom.sources.local import LocalStore

    table = place.section("sources").get(LOCAL, {})
    return LocalStore(place.path(table.get("path")) or place.state_dir, name=LOCAL)


def everything(source: Source, selection: Selection) -> Iterator[Secret]:
    """Yield the selected secrets of a source; memory is bounded by a batch."""
    entries = (entry for entry in source.list(with_tags=bool(selection.tags)) if matches(selection, entry))
    for batch in batched(entries, BATCH):
        yield from (secret for secret in source.read(batch) if secret is not None)


def _split(text: str) -> tuple[str, str | None]:
    from strongroom.sources.files import FORMATS

    path, colon, layout = text.rpartition(":")
    if colon and (layout in FORMATS or layout in _ALIASES):
        return path, _ALIASES.get(layout, layout)
    return text, None


def _files(path: str, layout: str | None, name: str | None = None) -> Source:
    from strongroom.sources.files import open_files

    if not path:
        raise UsageError("files: needs a path.", hint="For example --source files:/run/secrets")
    return open_files(path, layout, name=name)


def _configured(name: str, table: Mapping[str, Any], place: InstallationPlace) -> Source:
    if table.get("kind") == "local":
        from strongroom.sources.local import LocalStore

        return LocalStore(place.path(table.get("path")) or place.state_dir, name=name)
    if table.get("kind") != "files":
        from strongroom.config import load_settings
        from strongroom.wiring import adapters

        return adapters.source(name, load_settings())
    path = place.path(table.get("path"))
    if path is None:
        raise ConfigError(f"sources.{name} in {place.file} cannot be used.")
    layout = str(table.get("format", "auto"))
    return _files(str(path), _ALIASES.get(layout, layout), name)
