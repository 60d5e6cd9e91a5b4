"""From file and environment to settings, with every problem found at once."""

from __future__ import annotations

import copy
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, cast, get_args, get_origin

from msgspec import Struct

from strongroom.config.checks import Context, people, policies, stores
from strongroom.config.kinds import KindSection, Misfit
from strongroom.config.lines import line_of, lines_of
from strongroom.config.model import Settings
from strongroom.config.schema import (
    ConfigProblem,
    ConfigProblems,
    Field,
    KeyPath,
    SettingsSection,
    did_you_mean,
    dotted,
    fields_of,
    is_deep,
    is_table,
    kind_of,
    look_up,
    models_of,
    noted,
    stripped,
    toml_value,
)
from strongroom.config.values import InvalidValue, absolute, is_text, read_value, wrong_type

# -- From raw tables to settings, noting everything that is wrong on the way --------------------
#
# What is wrong is left out and the rest is read on, so that one wrong key does not hide how
# the other parts fit together: an optional key falls back to its default, a list goes without
# its wrong items, a table without its wrong entries.


NOTHING: Final = object()  # in place of what cannot be read

_HOLDS_A_SECRET = ("password", "passphrase", "secret", "token", "credential")
_NOT_A_NAME = InvalidValue(
    "not a name",
    "Letters, digits, '-' and '_', starting with a letter or digit, 63 at most.",
    example=False,
)


class Wrong(Struct, frozen=True, kw_only=True):
    """One thing that is wrong by itself, and what would be right."""

    path: KeyPath
    what: str
    right: str


class _Place(Struct, frozen=True):
    """Where something stands, and the key that it belongs to, whose example may help."""

    path: KeyPath
    field: Field | None = None

    def inside(self, part: str | int) -> _Place:
        return _Place((*self.path, part), self.field)


def read(
    annotation: Any, raw: Any, *, base: Path, texts: Mapping[KeyPath, str] | None = None
) -> tuple[Any, list[Wrong]]:
    """Return what ``raw`` means to a type of :mod:`strongroom.config`, and all that is wrong with it.

    Args:
        annotation: a section, or any type that one of its keys has.
        raw: as TOML's reader returns it.
        base: where relative paths begin.
        texts: what was written at some places, for where text is wanted and ``raw`` has none.

    Returns:
        ``NOTHING`` if too little is right, and the wrong things in the order of the sections' keys.
    """
    reading = _SettingsReading(base, texts or {})
    return reading.value(annotation, raw, _Place(())), reading.wrong


class _SettingsReading:
    def __init__(self, base: Path, texts: Mapping[KeyPath, str]) -> None:
        self._base = base
        self._texts = texts
        self.wrong: list[Wrong] = []

    def value(self, annotation: Any, raw: Any, place: _Place) -> Any:
        """Return what a value means, or ``NOTHING``, having noted why."""
        kind, marks = stripped(annotation)
        try:
            if is_table(kind):
                return self._table(kind, raw, place)
            if get_origin(kind) is tuple:
                return self._list(kind, marks, raw, place)
            if models := models_of(kind):
                return self._section(kind, models, raw, place)
            if read := getattr(kind, "read", None):  # it says itself what it takes
                return read(".".join(map(str, place.path[-1:])), raw)
            return self._plain(kind, marks, raw, place)
        except InvalidValue as unfit:
            self._note(place, unfit)
            return NOTHING

    def _plain(self, kind: Any, marks: tuple[Any, ...], raw: Any, place: _Place) -> Any:
        if kind in (str, Path) and not isinstance(raw, str):
            raw = self._texts.get(place.path, raw)
        return read_value(kind, marks, raw, base=self._base)

    def _list(self, kind: Any, marks: tuple[Any, ...], raw: Any, place: _Place) -> Any:
        if not isinstance(raw, list):
            raise wrong_type("a list in brackets")
        items = [self.value(get_args(kind)[0], item, place.inside(index)) for index, item in enumerate(raw)]
        right = tuple(item for item in items if item is not NOTHING)
        if len(right) >= (noted(marks, "min_length") or 0):
            return right
        if len(right) == len(raw):  # else it only follows from what is wrong in it
            raise InvalidValue("empty", "It must be a list with something in it")
        return NOTHING

    def _table(self, kind: Any, raw: Any, place: _Place) -> Any:
        if not isinstance(raw, dict):
            raise wrong_type("a table")
        name_type, entry_type = get_args(kind)
        entries = {}
        for name, entry in raw.items():
            named = self._is_name(name_type, name, place.inside(name))
            value = self.value(entry_type, entry, place.inside(name))
            if named and value is not NOTHING:
                entries[name] = value
        return entries

    def _is_name(self, annotation: Any, name: str, place: _Place) -> bool:
        try:
            read_value(*stripped(annotation), name, base=self._base)
        except InvalidValue:
            self._note(place, _NOT_A_NAME)
            return False
        return True

    def _section(
        self, annotation: Any, models: tuple[type[SettingsSection], ...], raw: Any, place: _Place
    ) -> Any:
        if not isinstance(raw, dict):
            raise wrong_type("a table")
        model = models[0] if len(models) == 1 else self._of_kind(annotation, models, raw, place)
        if not isinstance(model, type):  # none, or what stands in for a plug-in that is broken
            return NOTHING if model is None else model
        fields = fields_of(model)
        values = {name: self._key(field, raw, place) for name, field in fields.items()}
        for name in raw:
            if name not in fields:
                self._note(place.inside(name), _unknown(name, fields, model.REPLACED))
        right = {fields[name].attribute: value for name, value in values.items() if value is not NOTHING}
        whole = all(field.attribute in right for field in fields.values() if field.required)
        return model(**right) if whole else NOTHING

    def _of_kind(
        self, annotation: Any, models: tuple[type[SettingsSection], ...], raw: dict[str, Any], place: _Place
    ) -> type[SettingsSection] | SettingsSection | None:
        kinds = {kind: model for model in models if (kind := kind_of(model))}
        kind = raw.get("kind")
        if isinstance(kind, str) and kind in kinds:
            return kinds[kind]
        family = annotation if isinstance(annotation, type) and issubclass(annotation, KindSection) else None
        if isinstance(kind, str) and family and (found := family.of_kind(kind, raw)) is not None:
            return found
        what = "unknown kind" if "kind" in raw else "missing"
        known = [*kinds, *(family.installed() if family else ())]
        right = f"One of: {', '.join(known)}."
        if family and "kind" in raw:
            right += " If a plug-in has it, install the package of that plug-in beside Strongroom."
        self._note(place.inside("kind"), InvalidValue(what, right, example=False))
        return None

    def _key(self, field: Field, raw: dict[str, Any], above: _Place) -> Any:
        place = _Place((*above.path, field.name), field)
        if field.name in raw:
            return self.value(field.annotation, raw[field.name], place)
        if field.required:
            self._note(place, InvalidValue("missing", "Add it"))
        return NOTHING

    def _note(self, place: _Place, unfit: InvalidValue) -> None:
        right = _for_example(unfit.right, place.field) if unfit.example else unfit.right
        self.wrong.append(Wrong(path=place.path, what=unfit.what, right=right))


def _unknown(key: str, known: Iterable[str], replaced: Mapping[str, str]) -> InvalidValue:
    if key in replaced:
        return InvalidValue("was replaced", replaced[key], example=False)
    right = did_you_mean(key, known)
    if any(word in key.lower() for word in _HOLDS_A_SECRET):
        right = f"Secrets never stand here: put it into a file (mode 0600) and name that. {right}"
    return InvalidValue("unknown key", right, example=False)


def _for_example(right: str, field: Field | None) -> str:
    if field is None or models_of(field.kind) or not field.examples:
        return f"{right}."
    return f"{right}, for example: {field.name} = {toml_value(field.examples[0])}"


# -- What the environment says: where the file is, where the state is, and single settings ------
#
# ``STRONGROOM_<SECTION>__<KEY>`` overrides one setting; a double underscore goes one level
# down. Capitals do not count, and ``_`` also stands for ``-`` in the name of a policy,
# target, source, key or entry of the calendar: ``STRONGROOM_POLICIES__WEEKLY_CRITICAL__QUORUM=3``.
# A value is text unless it reads as a TOML number, ``true``, ``false``, list or inline table.


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


def origin_of_settings(env: Mapping[str, str]) -> str:
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
        # The section that a key holds; the tables of people's own names are none.
        field = fields.get(path[-1])
        models = models_of(field.kind) if field and not is_table(field.kind) else ()
        raw, model = written.get(path[-1]), models[0] if models else None
    return tuple(path)


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


# -- From file and environment to settings, with every problem found at once --------------------


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
    file = Path(path).absolute() if path is not None else find_config(env)
    text, raw = _read(file) if file else ("", {})
    return _Loading(raw, env, file, text).settings()


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    """Return the file's text, and what it says."""
    text = ""
    try:
        str(file).encode()  # it is named in all that is said of it
        text = file.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
        if not is_deep(raw):
            return text, raw
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
        missing = isinstance(error, FileNotFoundError)
        hint = "Name another, or create it." if missing else "Check its owner and mode, and its folder's."
        problem = _file_problem(file, f"cannot be read: {error.strerror}", hint)
    raise ConfigProblems.of([problem]) from None


def _syntax_problem(file: Path, message: str, text: str) -> ConfigProblem:
    match = re.search(r"\(at (?:line (\d+), column (\d+)|end of document)\)", message)
    what = message[: match.start()].strip() if match else message
    line = int(match[1]) if match and match[1] else None
    if match and what == "Cannot overwrite a value":
        second = text.splitlines()[(line or 0) - 1]  # at the end of the document it is in the last
        key = printable(second.partition("=")[0].strip())
        return ConfigProblem(
            where=str(file), line=line, key=key, what="stands there twice", right="Take one away."
        )
    column = f" (column {match[2]})" if match and match[2] else " (at the end)" if match else ""
    return ConfigProblem(
        where=str(file),
        line=line,
        key="",
        what=f"not TOML: {what[:1].lower()}{what[1:]}{column}",
        right='Write key = "text", and a list as ["a", "b"].',
    )


def _file_problem(file: Path, what: str, right: str) -> ConfigProblem:
    return ConfigProblem(where=printable(str(file)), key="", what=what, right=right)


class _Loading:
    """One load: the raw tables, where each part came from, and what is wrong so far."""

    def __init__(self, raw: dict[str, Any], env: Mapping[str, str], file: Path | None, text: str) -> None:
        self._raw = raw
        self._text = text
        self._lines: dict[KeyPath, int] | None = None
        self._written = copy.deepcopy(raw)
        self._file = file
        self._base = file.parent if file else Path.cwd()
        self._env = env
        # Variables that look like an override with an underscore forgotten. Sections are looked through for
        # those alone that are there: to read what keys each has is most of what a load takes.
        named = tuple(variable for variable in env if variable.startswith(PREFIX) and variable != STATE_DIR)
        meant = {
            f"{PREFIX}{section}_{_plain(key)}".upper(): f"{PREFIX}{section}__{_plain(key)}".upper()
            for section, field in fields_of(Settings).items()
            if any(variable.startswith(f"{PREFIX}{section}_".upper()) for variable in named)
            for model in models_of(field.kind)
            for key in fields_of(model)
        }
        self._problems = [
            ConfigProblem(
                where=f"environment {variable}",
                key=dotted(tuple(meant[variable].removeprefix(PREFIX).lower().split("__"))),
                what="not read, for a section and its key are joined by two underscores",
                right=f"Call it {meant[variable]}.",
            )
            for variable in sorted(meant.keys() & named)
        ]
        self._bad: set[KeyPath] = set()
        self._overrides = overrides(env, raw)
        if not file and not any(each.path[0] in ("sources", "targets") for each in self._overrides):
            raw["policies"] = copy.deepcopy(_UNCONFIGURED)
            self._overrides = overrides(env, raw)
        self._apply_overrides()

    def settings(self) -> Settings:
        """Return the settings, or raise with every problem."""
        settings = self._read()
        for key, what, right in _misfits(Context(settings=settings, raw=self._raw, bad=frozenset(self._bad))):
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
            elif not apply(override, self._raw):
                self._add(
                    override.path,
                    "goes deeper than there are settings",
                    "See docs/reference/configuration.md.",
                )
        if "state_dir" not in self._raw:
            self._raw["state_dir"] = self._default_state_dir()

    def _default_state_dir(self) -> str:
        """Return the environment's, or having noted what is wrong with it, one that only helps to read on."""
        path = default_state_dir(self._env)
        origin = origin_of_settings(self._env)
        if path is None:
            self._add(("state_dir",), "missing, and there is no home directory", "Set STRONGROOM_STATE_DIR.")
        elif _is_usable(path, self._base):
            return str(path)
        elif origin != STATE_DIR:  # that one is among the overrides, and noted already
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
        written = look_up(self._written, key) is not None
        for override in self._overrides:
            path = override.path
            if key[: len(path)] == path or (not written and path[: len(key)] == key):
                self._note(f"environment {override.variable}", key, what, right)
                return
        if self._file and self._lines is None:
            self._lines = lines_of(self._text)
        line = line_of(key, self._lines or {})
        self._note(str(self._file) if self._file else NO_FILE, key, what, right, line)

    def _note(self, where: str, key: KeyPath, what: str, right: str, line: int | None = None) -> None:
        """Note a problem that can be shown, wherever the links lead that it tells of."""
        self._problems.append(
            ConfigProblem(
                where=where, line=line, key=dotted(key), what=printable(what), right=printable(right)
            )
        )


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


def _misfits(context: Context) -> Iterator[Misfit]:
    """Yield what does not fit, each with its key and what would be right."""
    for check_section in (
        policies.check_policies,
        policies.check_schedules,
        stores.check_paths,
        stores.check_secrets,
        stores.check_stages,
        stores.check_servers,
        stores.check_stores,
        policies.check_snapshots,
        policies.check_custody,
        policies.check_erasable,
        policies.check_limits,
        people.check_alerts,
        people.check_approvals,
        people.check_hooks,
        people.check_rotators,
        people.check_access_logs,
    ):
        yield from check_section(context)
