"""What every setting is, made from the models so that it cannot go stale: the page, and the JSON Schema by
which editors complete and check the file.

``python scripts/make_reference.py`` writes the page.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum, StrEnum
from typing import Any, Literal, get_args, get_origin

from msgspec import NODEFAULT, to_builtins

from strongroom.config.calendar import Entry
from strongroom.config.kinds import KindSection
from strongroom.config.model import Settings
from strongroom.config.registry import find_kind, loaded_plugins
from strongroom.config.schema import (
    Field,
    SettingsSection,
    fields_of,
    is_table,
    kind_of,
    models_of,
    noted,
    stripped,
    toml_value,
)
from strongroom.config.values import LARGEST, TextForm

_HEAD = """\
# Configuration

<!-- Made from the code: python scripts/make_reference.py -->

Strongroom reads one file, `strongroom.toml`.
`strongroom init` writes one with comments.
`strongroom check config` reports every problem in it at once.
Without a file, Strongroom uses the local store and three directories under the state directory.

## Where settings come from

Strongroom uses the first of these files that exists:

1. the file that `STRONGROOM_CONFIG` names
2. `strongroom.toml` in the current directory
3. `strongroom.toml` in the state directory

A relative path in the file starts at the file's own directory, and `~` is the home directory.

A variable `STRONGROOM_<SECTION>__<KEY>` overrides one setting of the file.
A double underscore goes one level down.
Case does not matter.
`_` also stands for `-` in the name of a source, target, key, policy or entry of the calendar.
The value is text unless it reads as a TOML number, `true`, `false`, a list or an inline table:

```
STRONGROOM_BROKER__URL=rediss://strongroom@redis.example.org:6380/0
STRONGROOM_POLICIES__WEEKLY_CRITICAL__QUORUM=3
STRONGROOM_POLICIES__WEEKLY_CRITICAL__TARGETS='["region-a", "region-b"]'
```

| Variable | Meaning |
|---|---|
| `STRONGROOM_CONFIG` | the configuration file |
| `STRONGROOM_STATE_DIR` | the state directory, whatever the file says |
| `STRONGROOM_PASSPHRASE_FILE` | file that holds the passphrase, mode 0600 |
| `STRONGROOM_PASSPHRASE` | the passphrase itself; a file is visible in fewer places |

## Secrets

No setting holds a secret: a setting names the file that holds it.
That file must be a regular file that only its owner can use (mode 0600).
It must lie outside of every target, because backups and their keys must never be stored together.
Addresses with a password in them are refused.
A missing file is no problem until it is needed: a host that only seals holds no private key.
"""


def reference_markdown() -> str:
    """Return the whole page."""
    shown: Shown = {}
    parts = [
        _HEAD,
        "## Settings\n\nAn empty default says that nothing is set.\n",
        _rows("", fields_of(Settings), shown),
    ]
    for section, field in fields_of(Settings).items():
        parts += _section(section, field, shown)
    return "\n".join(parts)


def kind_markdown(model: type[SettingsSection]) -> str:
    """Return what this page says of one kind: of a plug-in's, which its own page can show."""
    head = f"#### kind = {toml_value(kind_of(model))}\n\n{stated(model.__doc__)}\n"
    return "\n".join([head, *_described("", model, {}, but=())])


Shown = dict[type[SettingsSection], str]
"""The sections that the page has described, by where. Another that is read as one of them refers to it."""


def _section(section: str, field: Field, shown: Shown) -> Iterator[str]:
    models = models_of(field.kind)
    if not models or models[0] in shown:
        return
    if is_table(field.kind):
        section = f"{section}.NAME"
        yield f"### [{section}]\n\n{field.description} Default: {_default(field)}.\n"
    else:
        yield f"### [{section}]\n\n{stated(models[0].__doc__)}\n"
    common = _common(models)
    if common:
        yield "Every kind takes:\n"
        yield _rows(section, {name: fields_of(models[0])[name] for name in common}, shown)
    for model in models:
        if kind := kind_of(model):
            yield f"#### kind = {toml_value(kind)}\n\n{stated(model.__doc__)}\n"
        yield from _described(section, model, shown, but=common)


def _common(models: Sequence[type[SettingsSection]]) -> list[str]:
    """Return the keys that every one of several kinds takes, with one meaning."""
    first, *others = [fields_of(model) for model in models]
    return [
        name
        for name, field in first.items()
        if others
        and name != "kind"
        and all(name in other and _row(name, other[name]) == _row(name, field) for other in others)
    ]


def stated(docstring: str | None) -> str:
    """Return what a docstring says, as Markdown: paragraphs, not indented."""
    return inspect.cleandoc(docstring or "")


def _described(
    section: str, model: type[SettingsSection], shown: Shown, *, but: Sequence[str]
) -> Iterator[str]:
    fields = {name: field for name, field in fields_of(model).items() if name not in but}
    if kind_of(model):
        del fields["kind"]  # the heading has it
    yield _rows(section, fields, shown)
    shown[model] = section
    for name, inner in fields_of(model).items():
        yield from _section(f"{section}.{name}", inner, shown)


def _rows(section: str, fields: Mapping[str, Field], shown: Shown) -> str:
    """Return a table of settings: each as it is written, its default, and what it takes and means."""
    rows = []
    below = dict(shown)
    for name, field in fields.items():
        models = models_of(field.kind)
        if models and below.setdefault(models[0], here := f"{section}.{name}") == here:
            continue  # it has a table of its own
        rows.append(_row(name, field, f"A table, as `[{below[models[0]]}]`." if models else ""))
    return (
        "\n".join(["| Setting, with an example | Default | Meaning |", "|---|---|---|", *rows]) + "\n"
        if rows
        else ""
    )


def _row(name: str, field: Field, takes: str = "") -> str:
    example = toml_value((field.examples or [{}])[0])
    meaning = " ".join(part for part in (field.description, takes or _takes(field)) if part)
    default = "" if (said := _default(field)) == "none" else said
    cells = [f"`{name} = {example}`", default, meaning]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _takes(field: Field) -> str:
    """Return what a setting takes, where its example does not show that: choices, forms and limits."""
    if models_of(field.kind):
        return ""
    least, most = noted(field.marks, "ge"), noted(field.marks, "le")
    limits = [
        *([f"at least {least:,}"] if least is not None and most is None else []),
        *([f"at most {most:,}"] if most is not None and least is None else []),
        *([f"{least:,} to {most:,}"] if least is not None and most is not None else []),
    ]
    said = [*filter(None, [_type_words(field)]), *limits]
    return f"Takes {', '.join(said)}." if said else ""


def _type_words(field: Field) -> str:
    kind = field.kind
    described = field.description
    if form := next((mark for mark in field.marks if isinstance(mark, TextForm)), None):
        return form.words
    if get_origin(kind) is Literal:
        return _choices(described, get_args(kind))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _choices(described, [word.value for word in kind])
    if get_origin(kind) is tuple and get_origin(stripped(get_args(kind)[0])[0]) is tuple:
        return "a list of lists"
    return ""  # its example shows it


def _choices(described: str, words: Sequence[str]) -> str:
    """Return what there is to choose from, unless the description says of each what it means."""
    unsaid = [word for word in words if f"`{word}`" not in described]
    return " or ".join(f'`"{word}"`' for word in words) if unsaid else ""


def _default(field: Field) -> str:
    said = noted(field.marks, "extra") or {}
    if "default" in said:
        return str(said["default"])
    if field.required:
        return "required"
    empty = field.default in (None, (), NODEFAULT)  # a table's is made anew each time
    if isinstance(field.default, Entry):
        return f"`{toml_value(field.default.schedule)}`"
    return "none" if empty else f"`{toml_value(field.default)}`"


# -- The JSON Schema --------------------------------------------------------------------------------

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the schema of ``strongroom.toml``. It accepts every file that has no problem by itself. How its
    parts fit together, and what is on this host, only ``strongroom check config`` sees."""
    definitions: dict[str, Any] = {}
    root = _object_schema(Settings, definitions)
    del root["required"]  # the state directory has a default, though not in the file
    head = {
        "$schema": DIALECT,
        "title": "strongroom.toml",
        "description": "The configuration of Strongroom.",
    }
    return head | root | {"$defs": dict(sorted(definitions.items()))}


def _object_schema(model: type[SettingsSection], definitions: dict[str, Any]) -> dict[str, Any]:
    described = fields_of(model)
    required = [name for name, field in described.items() if field.required]
    if kind_of(model):
        required = ["kind", *(name for name in required if name != "kind")]
    return {
        "type": "object",
        "properties": {name: _field_schema(field, definitions) for name, field in described.items()},
        "required": required,
        "additionalProperties": False,
    }


def _field_schema(field: Field, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return what a key takes, with what an editor shows beside it."""
    said: dict[str, Any] = {}
    if described := " ".join(filter(None, (field.description, _takes(field)))):
        said["description"] = described
    if isinstance(field.default, Entry):
        said["default"] = field.default.schedule
    elif not models_of(field.kind) and not field.required and field.default not in (None, (), NODEFAULT):
        said["default"] = to_builtins(field.default, enc_hook=str)
    if field.examples and not is_table(field.kind):
        said["examples"] = field.examples
    return said | _value_schema(field.annotation, definitions)


def _value_schema(annotation: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    kind, marks = stripped(annotation)
    schema: dict[str, Any]
    if models := models_of(kind) if not is_table(kind) else ():
        schema = _reference(models, definitions)
        if isinstance(kind, type) and issubclass(kind, KindSection) and kind.FAMILY:
            schema = {"oneOf": [*schema["oneOf"], *_plugged_in(kind, definitions)]}
    elif is_table(kind):
        name, entry = get_args(kind)
        schema = {
            "type": "object",
            "propertyNames": _value_schema(name, definitions),
            "additionalProperties": _value_schema(entry, definitions),
        }
    elif get_origin(kind) is tuple:
        items = _value_schema(get_args(kind)[0], definitions)
        schema = {"type": "array", "items": items} | _bounds(marks, min_length="minItems")
    elif kind is Entry:
        schema = {"oneOf": [{"type": "string", "minLength": 1}, {"const": False}]}
    elif get_origin(kind) is Literal:
        schema = {"enum": list(get_args(kind))}
    elif issubclass(kind, Enum):
        schema = {"enum": [word.value for word in kind]}
    else:
        schema = _plain_schema(kind, marks)
    return schema


def _reference(models: Sequence[type[SettingsSection]], definitions: dict[str, Any]) -> dict[str, Any]:
    """Refer to sections, each of which is described once."""
    for model in models:
        if model.__name__ not in definitions:
            definitions[model.__name__] = {}
            described = {"description": stated(model.__doc__)}
            definitions[model.__name__] = described | _object_schema(model, definitions)
    choices = [{"$ref": f"#/$defs/{model.__name__}"} for model in models]
    return choices[0] if len(choices) == 1 else {"oneOf": choices}


def _plugged_in(family: type[KindSection], definitions: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield what other packages' kinds take: of one that the configuration names, its record says it. Of the
    others only the name is known, since nothing of a plug-in is loaded for a look."""
    loaded = {plugin.kind for plugin in loaded_plugins() if plugin.section == family.FAMILY}
    for kind in family.installed():
        if kind in loaded and (record := find_kind(family.FAMILY, kind, family)):
            yield _reference([record], definitions)
        else:
            yield {"type": "object", "properties": {"kind": {"const": kind}}, "required": ["kind"]}


def _plain_schema(kind: Any, marks: tuple[Any, ...]) -> dict[str, Any]:
    if kind is bool:
        return {"type": "boolean"}
    if kind is float:
        return {"type": "number"} | _bounds(marks, gt="exclusiveMinimum")
    if kind is not int:
        return {"type": "string"} | _bounds(marks, min_length="minLength", pattern="pattern")
    number = {"type": "integer", "maximum": LARGEST} | _bounds(marks, ge="minimum", le="maximum")
    as_text = any(isinstance(mark, TextForm) for mark in marks)
    return {"oneOf": [number, {"type": "string", "minLength": 1}]} if as_text else number


def _bounds(marks: tuple[Any, ...], **keywords: str) -> dict[str, Any]:
    """Return what the annotations say, each under its keyword in a schema."""
    bounds = {keyword: noted(marks, mark) for mark, keyword in keywords.items()}
    return {keyword: bound for keyword, bound in bounds.items() if bound is not None}
