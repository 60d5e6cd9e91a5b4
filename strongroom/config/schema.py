"""Looking into the models: which field a path means, and which keys stand beside it."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from strongroom.config.model import Settings
from strongroom.config.problems import KeyPath


def inner(annotation: Any) -> Any:
    """Strip ``Annotated`` and an optional ``None``."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        kept = [arg for arg in get_args(annotation) if arg is not type(None)]
        if len(kept) == 1:
            return inner(kept[0])
    return annotation


def models_of(annotation: Any) -> tuple[type[BaseModel], ...]:
    """Return the models that a field, or the entries of a table of tables, may be."""
    annotation = inner(annotation)
    if get_origin(annotation) is dict:
        return models_of(get_args(annotation)[1])
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(model for arg in get_args(annotation) for model in models_of(arg))
    return (annotation,) if isinstance(annotation, type) and issubclass(annotation, BaseModel) else ()


def kind_of(model: type[BaseModel]) -> str | None:
    """Return the one ``kind`` that is read as this model, if it goes by kind."""
    field = model.model_fields.get("kind")
    kinds = get_args(field.annotation) if field else ()
    return kinds[0] if len(kinds) == 1 else None


def is_table(annotation: Any) -> bool:
    """Say whether the field is a table of named entries."""
    return get_origin(inner(annotation)) is dict


def model_at(path: KeyPath, raw: Any) -> type[BaseModel] | None:
    """Return the model that the table at ``path`` is read as; ``raw`` gives its kind."""
    if not path:
        return Settings
    section = Settings.model_fields.get(str(path[0]))
    if section is None or len(path) != 1 + is_table(section.annotation):
        return None
    found = models_of(section.annotation)
    kind = look_up(raw, (*path, "kind"))
    return next((model for model in found if len(found) == 1 or kind_of(model) == kind), None)


def field_at(path: KeyPath, raw: Any) -> tuple[str, FieldInfo] | None:
    """Return the name and field that a path means, or whose list or table it points into."""
    for end in range(len(path), 0, -1):
        model = model_at(path[: end - 1], raw)
        if model is not None:
            name = str(path[end - 1])
            return (name, model.model_fields[name]) if name in model.model_fields else None
    return None


def look_up(raw: Any, path: KeyPath) -> Any:
    """Return what stands at ``path``, or ``None``."""
    for part in path:
        try:
            raw = raw[part]
        except (LookupError, TypeError):
            return None
    return raw


def toml_value(value: Any) -> str:
    """Write a value as in TOML."""
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items())
        return f"{{ {inside} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False)
