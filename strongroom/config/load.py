"""From file and environment to settings, with every problem found at once."""

from __future__ import annotations

import copy
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from strongroom.config import env as environment
from strongroom.config.checks import Context, check
from strongroom.config.fields import InvalidValue, absolute, is_text
from strongroom.config.model import Settings
from strongroom.config.problems import ConfigProblem, ConfigProblems, KeyPath, dotted
from strongroom.config.reading import NOTHING, Wrong, read
from strongroom.config.schema import is_deep, look_up

NO_FILE = "no file"
_NOWHERE = "/"  # a state directory that is always one: with it there is a problem, and nothing is kept
_TOO_DEEP = ("nested too deeply", "No setting is deeper than a list in a table.")

# With nothing configured there is still something worth doing every night.
_UNCONFIGURED = {
    "daily-metadata": {
        "kind": "metadata",
        "targets": ["region-a", "region-b", "region-c"],
        "schedule": "0 2 * * *",
        "keep": {"monthly": 24, "yearly": 7},
    }
}


def load_settings(env: Mapping[str, str] | None = None, path: str | Path | None = None) -> Settings:
    """Return the settings.

    Args:
        env: the environment; this process's own when left out.
        path: the file; when left out the one that ``STRONGROOM_CONFIG`` names, else
            ``strongroom.toml`` here, else the one in the state directory, else none.

    Raises:
        ConfigProblems: with every problem, if there is any.
    """
    env = os.environ if env is None else env
    file = Path(path).absolute() if path is not None else environment.find_config(env)
    return _Loading(_read(file) if file else {}, env, file).settings()


def _read(file: Path) -> dict[str, Any]:
    text = ""
    try:
        str(file).encode()  # it is named in all that is said of it
        text = file.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
        if not is_deep(raw):
            return raw
        problem = _file_problem(file, *_TOO_DEEP)
    except tomllib.TOMLDecodeError as error:
        problem = _syntax_problem(file, str(error), text)
    except RecursionError:
        problem = _file_problem(file, *_TOO_DEEP)
    except UnicodeDecodeError:
        problem = _file_problem(file, "not a text in UTF-8", "Save it as UTF-8.")
    except UnicodeEncodeError:
        problem = _file_problem(file, "its path is not a text in UTF-8", "Move it, or name another.")
    except ValueError:  # from reading a number of thousands of digits
        problem = _file_problem(file, "holds a number beyond all measure", "No setting takes such a number.")
    except OSError as error:
        problem = _file_problem(file, f"cannot be read: {error.strerror}", "Name another, or create it.")
    raise ConfigProblems.of([problem]) from None


def _syntax_problem(file: Path, message: str, text: str) -> ConfigProblem:
    match = re.search(r"\(at (?:line (\d+), column (\d+)|end of document)\)", message)
    what = message[: match.start()].strip() if match else message
    line = f":{match[1]}" if match and match[1] else ""
    column = f" (column {match[2]})" if match and match[2] else " (at the end)" if match else ""
    if match and what == "Cannot overwrite a value":
        second = text.splitlines()[int(match[1] or 0) - 1]  # at the end of the document it is in the last
        key = environment.printable(second.partition("=")[0].strip())
        return ConfigProblem(
            where=f"{file}{line}", key=key, what="stands there twice", right="Take one away."
        )
    return ConfigProblem(
        where=f"{file}{line}",
        key="",
        what=f"not TOML: {what[:1].lower()}{what[1:]}{column}",
        right='Write key = "text", and a list as ["a", "b"].',
    )


def _file_problem(file: Path, what: str, right: str) -> ConfigProblem:
    return ConfigProblem(where=environment.printable(str(file)), key="", what=what, right=right)


class _Loading:
    """One load: the raw tables, where each part came from, and what is wrong so far."""

    def __init__(self, raw: dict[str, Any], env: Mapping[str, str], file: Path | None) -> None:
        self._raw = raw
        self._written = copy.deepcopy(raw)
        self._file = file
        self._base = file.parent if file else Path.cwd()
        self._env = env
        self._problems = environment.suspects(env)
        self._bad: set[KeyPath] = set()
        self._overrides = environment.overrides(env, raw)
        if not file and not any(each.path[0] in ("sources", "targets") for each in self._overrides):
            raw["policies"] = copy.deepcopy(_UNCONFIGURED)
            self._overrides = environment.overrides(env, raw)
        self._apply_overrides()

    def settings(self) -> Settings:
        """Return the settings, or raise with every problem."""
        settings = self._read()
        for key, what, right in check(Context(settings=settings, raw=self._raw, bad=frozenset(self._bad))):
            self._add(key, what, right)
        self._refuse_programs(settings)
        if self._problems:
            raise ConfigProblems.of(self._problems)
        return settings

    def _refuse_programs(self, settings: Settings) -> None:
        """Refuse a file that names programs and that anyone may write: they run with the workers' rights."""
        if self._file is None or not _is_writable_by_all(self._file):
            return
        for key, hook in settings.calls.items():
            if hook.command:
                what = "names a program to run, and everybody on this machine may write the file"
                self._add((*key, "command"), what, f"Run: chmod o-w '{self._file}'.")

    def _apply_overrides(self) -> None:
        for override in self._overrides:
            if not is_text(override.text):
                self._add(override.path, "not a text in UTF-8", "Set it again.")
            elif not environment.apply(override, self._raw):
                self._add(
                    override.path,
                    "goes deeper than there are settings",
                    "See docs/reference/configuration.md.",
                )
        if "state_dir" not in self._raw:
            self._raw["state_dir"] = self._default_state_dir()

    def _default_state_dir(self) -> str:
        """Return the environment's, or having noted what is wrong with it, one that only helps to read on."""
        path = environment.default_state_dir(self._env)
        origin = environment.origin(self._env)
        if path is None:
            self._add(("state_dir",), "missing, and there is no home directory", "Set STRONGROOM_STATE_DIR.")
        elif _is_usable(path, self._base):
            return str(path)
        elif origin != environment.STATE_DIR:  # that one is among the overrides, and noted already
            what = "this names no directory to keep it in"
            self._note(f"environment {origin}", ("state_dir",), what, "Set STRONGROOM_STATE_DIR.")
        return _NOWHERE

    def _read(self) -> Settings:
        """Return settings from what is valid, having noted what is not."""
        found, wrong = self._attempt()
        for each in wrong:
            self._add(each.path, each.what, each.right)
        self._bad.update(each.path for each in wrong)
        if found is NOTHING:  # the state directory is wrong, and nothing goes without one
            self._raw["state_dir"] = _NOWHERE
            found, _ = self._attempt()
        return cast("Settings", found)  # nothing else is required, and nothing is wrong with this one

    def _attempt(self) -> tuple[Any, list[Wrong]]:
        """Read, taking overrides as text where text is wanted, though they look like a number."""
        texts: dict[KeyPath, str] = {
            override.path: override.text for override in self._overrides if is_text(override.text)
        }
        return read(Settings, self._raw, base=self._base, texts=texts)

    def _add(self, key: KeyPath, what: str, right: str) -> None:
        self._note(self._where(key), key, what, right)

    def _note(self, where: str, key: KeyPath, what: str, right: str) -> None:
        """Note a problem that can be shown, wherever the links lead that it tells of."""
        what, right = environment.printable(what), environment.printable(right)
        self._problems.append(ConfigProblem(where=where, key=dotted(key), what=what, right=right))

    def _where(self, key: KeyPath) -> str:
        written = look_up(self._written, key) is not None
        for override in self._overrides:
            path = override.path
            if key[: len(path)] == path or (not written and path[: len(key)] == key):
                return f"environment {override.variable}"
        return str(self._file) if self._file else NO_FILE


def _is_writable_by_all(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return False


def _is_usable(path: Path, base: Path) -> bool:
    try:
        absolute(str(path), base)
    except InvalidValue:
        return False
    return True
