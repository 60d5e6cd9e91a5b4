"""From raw tables to settings, noting everything that is wrong on the way.

What is wrong is left out and the rest is read on, so that one wrong key does not hide how
the other parts fit together: an optional key falls back to its default, a list goes without
its wrong items, a table without its wrong entries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, get_args, get_origin

from msgspec import Struct

from strongroom.config.base import SettingsSection
from strongroom.config.fields import InvalidValue
from strongroom.config.problems import KeyPath, did_you_mean
from strongroom.config.schema import (
    Field,
    fields_of,
    is_table,
    kind_of,
    models_of,
    noted,
    stripped,
    toml_value,
)
from strongroom.config.values import read_value, wrong_type

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
                return self._section(models, raw, place)
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

    def _section(self, models: tuple[type[SettingsSection], ...], raw: Any, place: _Place) -> Any:
        if not isinstance(raw, dict):
            raise wrong_type("a table")
        model = models[0] if len(models) == 1 else self._of_kind(models, raw, place)
        if model is None:
            return NOTHING
        fields = fields_of(model)
        values = {name: self._key(field, raw, place) for name, field in fields.items()}
        for name in raw:
            if name not in fields:
                self._note(place.inside(name), _unknown(name, fields, model.REPLACED))
        right = {fields[name].attribute: value for name, value in values.items() if value is not NOTHING}
        whole = all(field.attribute in right for field in fields.values() if field.required)
        return model(**right) if whole else NOTHING

    def _of_kind(
        self, models: tuple[type[SettingsSection], ...], raw: dict[str, Any], place: _Place
    ) -> type[SettingsSection] | None:
        kinds = {kind: model for model in models if (kind := kind_of(model))}
        kind = raw.get("kind")
        if isinstance(kind, str) and kind in kinds:
            return kinds[kind]
        what = "unknown kind" if "kind" in raw else "missing"
        self._note(place.inside("kind"), InvalidValue(what, f"One of: {', '.join(kinds)}.", example=False))
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
