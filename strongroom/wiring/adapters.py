"""Sources and targets, made from their settings. Nothing is connected before its first use.

What makes one is named by a string in its settings: an SDK costs up to a second, and only its users pay.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NoReturn, cast

from strongroom.config import (
    DirectoryTargetSettings,
    FilesSourceSettings,
    LocalSourceSettings,
    Settings,
)
from strongroom.config.kinds import TargetKind, UnusableSource, UnusableTarget
from strongroom.config.registry import guarded, is_plugin, maker, require_callable, require_made
from strongroom.errors import ConfigError, SourceError, StrongroomError, TargetError, UsageError
from strongroom.model import ListedSecret, ObjectInfo, Secret
from strongroom.sources import Destination, Refuse, ScratchPlace, SecretChange, Source
from strongroom.sources.files import open_files
from strongroom.sources.local import LocalStore
from strongroom.system.errors import PluginBroken
from strongroom.system.lazy import resolve
from strongroom.targets import Target, TargetIdentity
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.resilient import Resilient
from strongroom.words import nearest


def local_stage(settings: Settings, *, prepare: bool = True) -> DirectoryTarget:
    """Return the folder where sealed containers wait for their upload, on the one host that there is."""
    made = DirectoryTarget(settings.stage_path, name="stage", region="local")
    if prepare and settings.stage_path == settings.state_dir / "stage":  # any other may not be mounted
        made.prepare()
    return made


def stages(settings: Settings, *, prepare: bool = True) -> dict[str, Target]:
    """Return the stages that several hosts reach."""
    return {name: stage(name, settings, prepare=prepare) for name in settings.stages}


def stage(name: str, settings: Settings, *, prepare: bool = True) -> Target:
    """Return one of the stages, or, for an empty name, the folder in the state directory."""
    if not name:
        return local_stage(settings, prepare=prepare)
    return _prepared(_made(name, settings.stages[name], settings), settings.stages[name], prepare=prepare)


# -- what other packages make ---------------------------------------------------


def unmade(settings: Settings) -> tuple[StrongroomError, ...]:
    """Return why plug-ins do not make what the configuration names. Each is asked to, which connects to
    nothing; a key is not, for that may need its file or a person."""
    found: dict[str, StrongroomError] = {}
    for section, wanted in _MADE.items():
        for name, record in getattr(settings, section).items():
            if is_plugin(record):
                try:
                    require_made(maker(record, record.MADE_BY)(name, record, settings), wanted, record)
                except StrongroomError as error:
                    found[error.message] = error
    for key in settings.keys.values():
        for by in (key.MADE_BY, key.OPENED_BY, key.DESTROYED_BY):
            try:
                require_callable(key, by, 4)
            except PluginBroken as error:
                found[error.message] = error
    return tuple(found.values())


_MADE: Mapping[str, type | Sequence[str]] = {
    "sources": Source,
    "targets": Target,
    "stages": Target,
    "rotators": ("does", "shape", "carry", "engine"),
    "channels": ("name", "where", "send"),
}


# -- sources -------------------------------------------------------------------


def source(name: str, settings: Settings) -> Source:
    """Return a configured source. One whose plug-in is broken says so when it is used, and not before."""
    record = settings.sources[name]
    try:
        made: Source = maker(record, record.MADE_BY)(name, record, settings)
        wanted = Destination if record.WRITABLE else Source
        require_made(made, wanted, record)
        made = guarded(made, record, wanted, SourceError)
    except StrongroomError as broken:
        if not is_plugin(record):
            raise
        return _BrokenSource(name, broken.message, broken.hint)
    return made


def broken_source(name: str, record: UnusableSource, settings: Settings) -> Source:
    """Return what stands in for a source whose plug-in cannot be used."""
    return _BrokenSource(name, record.problem, record.mend)


class _BrokenSource(Destination):
    """A source whose plug-in cannot be used: whoever asks it for anything is told why."""

    def __init__(self, name: str, problem: str, to_do: str) -> None:
        self.name = name
        self._problem, self._to_do = problem, to_do

    def _refuse(self) -> NoReturn:
        raise SourceError(self._problem, hint=self._to_do)

    def list(self, *, with_tags: bool = False) -> Iterator[ListedSecret]:
        self._refuse()

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        self._refuse()

    def heads(self, names: Sequence[str]) -> dict[str, int]:
        self._refuse()

    def write(self, changes: Iterable[SecretChange], *, refuse: Refuse | None = None) -> int:
        self._refuse()

    def delete(self, names: Iterable[str]) -> int:
        self._refuse()


def destinations(settings: Settings) -> Mapping[str, Destination]:
    """Return the sources that can be restored into. Files cannot; a snapshot goes its own way."""
    return {name: destination(name, settings) for name, record in settings.sources.items() if record.WRITABLE}


def destination(name: str, settings: Settings) -> Destination:
    """Return a configured source that can be restored into. Raises UsageError."""
    if name in settings.sources and not settings.sources[name].WRITABLE:
        others = [other for other, record in settings.sources.items() if record.WRITABLE]
        raise UsageError(
            f"Nothing can be restored into '{name}': it is only read.", hint=nearest(name, others)
        )
    return cast("Destination", source(name, settings))


def local_source(name: str, record: LocalSourceSettings, settings: Settings) -> Destination:
    """Return a local store."""
    return LocalStore(record.path or settings.state_dir, name=name)


def files_source(name: str, record: FilesSourceSettings, settings: Settings) -> Source:
    """Return secrets in files."""
    return open_files(record.path, record.format, name=name)


def scratch(name: str, settings: Settings) -> ScratchPlace:
    """Return the server on which drills make mounts of their own. Raises as :func:`check_scratch` does."""
    check_scratch(name, settings)
    made: ScratchPlace = resolve("strongroom.wiring.vault_adapters:scratch_mounts")(name, settings)
    return made


def check_scratch(name: str, settings: Settings) -> None:
    """Refuse a server on which no drill may make a mount.

    Raises:
        ConfigError: there is none of that name, or its settings do not allow it.
    """
    if name not in settings.vaults:
        raise ConfigError(f"there is no vault '{name}' to drill on", hint=nearest(name, settings.vaults))
    if not settings.vaults[name].scratch:
        raise ConfigError(
            f"drills may make no mount on '{name}'",
            hint=f"Set vaults.{name}.scratch = true: 'strongroom cluster rules vault --role drill'.",
        )


# -- targets -------------------------------------------------------------------


def target(name: str, settings: Settings, *, prepare: bool) -> Target:
    """Return a configured target, with patience and a circuit breaker where a network is between.

    Args:
        prepare: whether this process may create a directory that is to be created.
    """
    return _prepared(_made(name, settings.targets[name], settings), settings.targets[name], prepare=prepare)


def _prepared(made: Target, record: TargetKind, *, prepare: bool) -> Target:
    if prepare and isinstance(made, DirectoryTarget) and getattr(record, "create", False):
        # One target that is full or read-only must not keep this process from the others;
        # its own calls say what is wrong with it.
        with suppress(TargetError):
            made.prepare()
    return made


def log_store(name: str, store: TargetKind, settings: Settings) -> Target:
    """Return the bucket or container that the files of an access log are in."""
    return _made(name, store, settings)


def _made(name: str, record: TargetKind, settings: Settings) -> Target:
    try:
        made: Target = maker(record, record.MADE_BY)(name, record, settings)
        require_made(made, Target, record)
        made = guarded(made, record, Target, TargetError)
    except StrongroomError as broken:
        if not is_plugin(record):
            raise
        return _BrokenTarget(name, record, broken.message, broken.hint)
    return Resilient(made) if record.REMOTE else made


def broken_target(name: str, record: UnusableTarget, settings: Settings) -> Target:
    """Return what stands in for a target whose plug-in cannot be used."""
    return _BrokenTarget(name, record, record.problem, record.mend)


class _BrokenTarget(Target):
    """A target whose plug-in cannot be used: whoever asks it is told why, and asks the others."""

    def __init__(self, name: str, record: TargetKind, problem: str, to_do: str) -> None:
        address = f"{record.kind}:{name}"
        super().__init__(
            TargetIdentity(name=name, region=record.region, provider=record.provider, address=address)
        )
        self._problem, self._to_do = problem, to_do

    def _refuse(self) -> NoReturn:
        raise TargetError(self._problem, hint=self._to_do)

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        self._refuse()

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        self._refuse()

    def stat(self, name: str) -> ObjectInfo | None:
        self._refuse()

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self._refuse()

    def delete(self, name: str) -> None:
        self._refuse()

    def abort_incomplete(self, prefix: str) -> int:
        self._refuse()


def directory_target(name: str, record: DirectoryTargetSettings, settings: Settings) -> Target:
    """Return a directory."""
    return DirectoryTarget(record.path, name=name, region=record.region, provider=record.provider)
