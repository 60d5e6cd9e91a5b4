"""The page of settings, made from the models so that it cannot go stale.

``python scripts/make_reference.py`` writes it.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Literal, get_args, get_origin

from msgspec import NODEFAULT

from strongroom.config.calendar import Entry
from strongroom.config.model import Settings
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
from strongroom.config.values import TextForm

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
