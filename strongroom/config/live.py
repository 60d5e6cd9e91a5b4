"""The settings of a process that runs on: read again when their file changes, and taken on if right."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct, structs

from strongroom.config import load as environment
from strongroom.config.load import load_settings
from strongroom.config.model import Settings
from strongroom.config.schema import ConfigProblems
from strongroom.errors import ConfigError, StrongroomError
from strongroom.system.files import write_whole

SETTLES: Final = 1.0
"""Seconds for which a file must have rested: an editor may be half-way through writing it."""
AT_START: Final = (
    "state_dir",
    "broker",
    "state",
    "stages",
    "workers",
    "listen",
    "flower",
    "metrics",
    "page",
    "sentry",
)
"""What a process uses from its start to its end: where its runs are on record and on the stage, what carries
its messages, and how many it performs at once. A file that changes one of them waits for a restart, whole:
half of it would be settings that nobody wrote."""

LAST_GOOD: Final = Path("run", "strongroom.toml")
"""Where the newest file that was right is kept, below the state directory. A process that had nothing to do
while the file was right finds it there when the file is broken."""

Stamp = tuple[Path, int, int, int] | None


class SettingsChange(Struct, frozen=True, kw_only=True):
    """What became of a changed file: taken on if nothing is said against it.

    ``problem`` says what is wrong with it. ``waits`` names the sections for which it waits for a restart.
    """

    file: str
    sha256: str = ""
    problem: str = ""
    waits: tuple[str, ...] = ()

    @property
    def taken(self) -> bool:
        """Whether the settings in the file are those in force."""
        return not self.problem and not self.waits


class LiveSettings:
    """The settings in force, and those before the newest change. Not safe to use from threads at once.

    Args:
        find: returns the file that counts now, if there is one.
        read: returns the settings in a file, or those that hold without one. Raises ConfigProblems.
    """

    def __init__(self, find: Callable[[], Path | None], read: Callable[[Path | None], Settings]) -> None:
        self._find, self._read = find, read
        file = find()
        self._seen = _stamp(file)  # before it is read: what is written meanwhile is a change
        self.current = read(file)
        self.before: Settings | None = None
        self.version = 0
        self._digest = _digest(self._seen)
        self.change = SettingsChange(file=str(file or ""), sha256=self._digest)
        self._keep_good()

    @classmethod
    def load(cls, env: Mapping[str, str] | None = None) -> LiveSettings:
        """Return the settings of this environment. Where a process runs later does not count.

        Raises:
            ConfigProblems: the file is wrong already.
        """
        here, own = Path.cwd(), dict(os.environ if env is None else env)
        for name in (environment.STATE_DIR, environment.CONFIG):
            if own.get(name):
                own[name] = str(here / own[name])
        find = partial(environment.find_config, own, here=here)
        return cls(find, partial(load_settings, own))

    @classmethod
    def fixed(cls, settings: Settings) -> LiveSettings:
        """Return settings that no file changes."""
        return cls(lambda: None, lambda _file: settings)

    def look(self) -> SettingsChange | None:
        """Read the file again if it changed; return what became of it, or ``None`` if nothing did."""
        seen = _stamp(self._find())
        if seen == self._seen or _is_young(seen):
            return None
        digest = _digest(seen)
        if _stamp(self._find()) != seen:
            return None  # written while it was read
        self._seen = seen
        if digest == self.change.sha256:
            return None
        self.change = self._take_on(seen, digest)
        return self.change

    def _take_on(self, seen: Stamp, digest: str) -> SettingsChange:
        if seen is None:
            self._take_last_good()
            return SettingsChange(file=self.change.file, problem="the configuration file is gone")
        file = str(seen[0])
        if digest == self._digest:  # it was put back as it had been
            return SettingsChange(file=file, sha256=digest)
        try:
            settings = self._read(seen[0])
        except ConfigError as error:
            self._take_last_good()
            return SettingsChange(file=file, sha256=digest, problem=_why(error))
        waits = self._replace(settings, digest)
        if not waits:
            self._keep_good()
        return SettingsChange(file=file, sha256=digest, waits=waits)

    def _replace(self, settings: Settings, digest: str) -> tuple[str, ...]:
        """Put other settings in force, unless some of them wait for a restart; return those."""
        waits = tuple(name for name in AT_START if _at_start(settings, name) != _at_start(self.current, name))
        if not waits:
            self.before, self.current, self._digest = self.current, settings, digest
            self.version += 1
        return waits

    def _take_last_good(self) -> None:
        """Take on what another process of this host took on while this one had nothing to do."""
        kept = _stamp(self._last_good)
        digest = _digest(kept)
        if digest not in ("", self._digest):
            with suppress(ConfigError):
                self._replace(self._read(self._last_good), digest)

    def _keep_good(self) -> None:
        """Keep the file in force for the other processes. Where that cannot be, each has its own."""
        with suppress(OSError, StrongroomError):
            content = self._seen[0].read_bytes() if self._seen else b""
            if content and hashlib.sha256(content).hexdigest() == self._digest:
                self._last_good.parent.mkdir(mode=0o700, exist_ok=True)
                write_whole(self._last_good, content, replace=True)

    @property
    def _last_good(self) -> Path:
        return self.current.state_dir / LAST_GOOD


def _at_start(settings: Settings, name: str) -> object:
    """Return a section but for what is looked up anew each time: who may log in to the page, so that somebody
    who was taken out is out at once. By which authority its proxy is known is what it listens with."""
    if name != "page":
        return getattr(settings, name)
    page = settings.page
    return structs.replace(page, proxy=None, oidc=None), page.proxy.ca_file if page.proxy else None


def _why(error: ConfigError) -> str:
    """Say the first thing that is wrong: 'config check' has all of them, and what is right."""
    if not isinstance(error, ConfigProblems) or not error.problems:
        return error.message
    first, more = error.problems[0], len(error.problems) - 1
    said = ": ".join(filter(None, (first.place, first.key, first.what)))
    return f"{said} (and {more} more)" if more else said


def _stamp(file: Path | None) -> Stamp:
    """Return what changes when a file does; ``None`` if there is none that can be looked at."""
    try:
        found = file.stat() if file else None
    except OSError:
        return None
    return (file, found.st_ino, found.st_mtime_ns, found.st_size) if file and found else None


def _is_young(seen: Stamp) -> bool:
    return seen is not None and 0 <= time.time() - seen[2] / 1e9 < SETTLES


def _digest(seen: Stamp) -> str:
    try:
        return hashlib.sha256(seen[0].read_bytes()).hexdigest() if seen else ""
    except OSError:
        return ""
