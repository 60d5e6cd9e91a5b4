"""What the environment says: where the file is, where the state is, and single settings.

``STRONGROOM_<SECTION>__<KEY>`` overrides one setting; a double underscore goes one level
down. Capitals do not count, and ``_`` also stands for ``-`` in the name of a policy,
target, source, key or entry of the calendar: ``STRONGROOM_POLICIES__WEEKLY_CRITICAL__QUORUM=3``.
A value is text unless it reads as a TOML number, ``true``, ``false``, list or inline table.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from strongroom.config.base import SettingsSection
from strongroom.config.model import Settings
from strongroom.config.problems import ConfigProblem, dotted
from strongroom.config.schema import Field, fields_of, is_deep, is_table, models_of

PREFIX = "STRONGROOM_"
CONFIG = "STRONGROOM_CONFIG"
STATE_DIR = "STRONGROOM_STATE_DIR"
FILE_NAME = "strongroom.toml"

_NOT_TEXT = re.compile(r"true|false|[+-]?\d[\d_]*|\[.*\]|\{.*\}", re.DOTALL)


class Override(Struct, frozen=True, kw_only=True):
    """One setting from the environment: its variable, its path, its text."""

    variable: str
    path: tuple[str, ...]
    text: str


def find_config(env: Mapping[str, str], *, here: Path | None = None) -> Path | None:
    """Return the configuration file: the named one, ours here, or ours in the state directory.

    ``here`` is the current directory if left out.
    """
    if env.get(CONFIG):
        return Path(env[CONFIG]).absolute()
    state = default_state_dir(env)
    paths = [(here or Path.cwd()) / FILE_NAME, *([state / FILE_NAME] if state else [])]
    return next((path for path in paths if _there(path)), None)


def _there(path: Path) -> bool:
    """Whether a file is there, or might be: then reading it says why it cannot be read."""
    try:
        return path.is_file()
    except OSError:
        return True


def default_state_dir(env: Mapping[str, str]) -> Path | None:
    """Return the state directory if the file names none; ``None`` if there is no home either."""
    if env.get(STATE_DIR):
        return Path(env[STATE_DIR]).absolute()
    base = Path(env.get("XDG_STATE_HOME", ""))
    if base.is_absolute():  # the XDG specification: a relative one is to be ignored
        return base / "strongroom"
    home = _home(env)
    return home / ".local" / "state" / "strongroom" if home else None


def origin(env: Mapping[str, str]) -> str:
    """Return the variable that the default state directory follows from."""
    if env.get(STATE_DIR):
        return STATE_DIR
    return "XDG_STATE_HOME" if Path(env.get("XDG_STATE_HOME", "")).is_absolute() else "HOME"


def _home(env: Mapping[str, str]) -> Path | None:
    try:
        return Path(env["HOME"]) if env.get("HOME") else Path.home()
    except RuntimeError:
        return None  # a container's user without an entry in the user database


def overrides(env: Mapping[str, str], raw: Mapping[str, Any]) -> list[Override]:
    """Return the settings that the environment overrides; ``raw`` spells existing names."""
    found = [
        Override(variable=variable, path=_spell(variable.removeprefix(PREFIX).split("__"), raw), text=text)
        for variable, text in sorted((printable(name), text) for name, text in env.items())
        if variable.startswith(PREFIX) and "__" in variable
    ]
    if env.get(STATE_DIR):
        found.append(
            Override(variable=STATE_DIR, path=("state_dir",), text=str(Path(env[STATE_DIR]).absolute()))
        )
    return found


def printable(text: str) -> str:
    """Spell out what is no UTF-8: no problem that names it could be shown."""
    return text.encode(errors="backslashreplace").decode()


def _spell(parts: list[str], raw: Any) -> tuple[str, ...]:
    """Return a path with names as the file has them, or as the settings call them."""
    path: list[str] = []
    model: type[SettingsSection] | None = Settings
    for part in parts:
        fields = fields_of(model) if model else {}
        written = raw if isinstance(raw, Mapping) else {}
        known = {_plain(key): key for key in (*fields, *written)}
        path.append(known.get(_plain(part), part.lower()))
        raw, model = written.get(path[-1]), _below(fields.get(path[-1]))
    return tuple(path)


def _below(field: Field | None) -> type[SettingsSection] | None:
    """Return the section that a key holds; the tables of people's own names are none."""
    models = models_of(field.kind) if field and not is_table(field.kind) else ()
    return models[0] if models else None


def _plain(key: str) -> str:
    return key.lower().replace("-", "_")


def apply(override: Override, raw: dict[str, Any]) -> bool:
    """Put an override into ``raw``; say whether there is a table to put it into."""
    table = raw
    for part in override.path[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            return False
    table[override.path[-1]] = value_of(override.text)
    return True


def value_of(text: str) -> Any:
    """Read an environment value: TOML if it looks like a number, truth, list or table."""
    if _NOT_TEXT.fullmatch(text.strip()):
        try:
            value = tomllib.loads(f"value = {text.strip()}")["value"]
        except (ValueError, RecursionError):  # a number of thousands of digits is no TOMLDecodeError
            return text
        return text if is_deep(value) else value
    return text


def suspects(env: Mapping[str, str]) -> list[ConfigProblem]:
    """Return variables that look like an override with an underscore forgotten."""
    meant = {
        f"{PREFIX}{section}_{_plain(key)}".upper(): f"{PREFIX}{section}__{_plain(key)}".upper()
        for section, field in fields_of(Settings).items()
        for model in models_of(field.kind)
        for key in fields_of(model)
    }
    return [
        ConfigProblem(
            where=f"environment {variable}",
            key=dotted(tuple(meant[variable].removeprefix(PREFIX).lower().split("__"))),
            what="not read, for a section and its key are joined by two underscores",
            right=f"Call it {meant[variable]}.",
        )
        for variable in sorted(env.keys() & meant.keys() - {STATE_DIR})
    ]
