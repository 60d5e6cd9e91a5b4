"""From pydantic's errors to problems that a person can act on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from strongroom.config import fields
from strongroom.config.problems import KeyPath, Problem, did_you_mean, dotted
from strongroom.config.schema import field_at, kind_of, look_up, model_at, models_of, toml_value

_HOLDS_A_SECRET = ("password", "passphrase", "secret", "token", "credential")

_WANTED = {
    "string_type": "text in quotes",
    "int_type": "a whole number, without quotes",
    "bool_type": "true or false, without quotes",
    "tuple_type": "a list in brackets",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
    "path_type": "a path in quotes",
    "string_too_short": "text that is not empty",
    "too_short": "a list with something in it",
}


def problems_of(error: ValidationError, raw: Any, where: Callable[[KeyPath], str]) -> list[Problem]:
    """Return one problem for each error, in the order of the settings."""
    return [_problem(details, raw, where) for details in details_of(error)]


def details_of(error: ValidationError) -> list[ErrorDetails]:
    """Return each thing that is wrong, less what only follows from another."""
    found = error.errors(include_url=False, include_input=False)
    # A list whose every item is wrong counts as empty too.
    holders = {details["loc"][:-1] for details in found}
    return [
        details
        for details in found
        if details["type"] != "default_factory_not_called"
        and not (details["type"] == "too_short" and details["loc"] in holders)
    ]


def path_of(details: ErrorDetails, raw: Any) -> KeyPath:
    """Return where an error points, without the tags that pydantic puts between."""
    parts = list(details["loc"])
    if (
        len(parts) > 2
        and parts[2] == look_up(raw, (*parts[:2], "kind"))
        and len(_choices(tuple(parts[:2]))) > 1
    ):
        del parts[2]
    return tuple(part for part in parts if part != "[key]")


def _choices(path: KeyPath) -> list[str]:
    section = field_at(path[:1], None)
    models = models_of(section[1].annotation) if section else ()
    return [kind for model in models if (kind := kind_of(model))]


def _problem(details: ErrorDetails, raw: Any, where: Callable[[KeyPath], str]) -> Problem:
    path = path_of(details, raw)
    if details["type"].startswith("union_tag"):
        path = (*path, "kind")
    what, right = _words(details, path, raw)
    return Problem(where=where(path), key=dotted(path), what=what, right=right)


def _words(details: ErrorDetails, path: KeyPath, raw: Any) -> tuple[str, str]:
    kind = details["type"]
    if kind == "extra_forbidden":
        return "unknown key", _known(path, raw)
    if kind.startswith("union_tag"):
        missing = kind == "union_tag_not_found"
        return "missing" if missing else "unknown kind", f"One of: {', '.join(_choices(path))}."
    if details["loc"][-1] == "[key]":
        return "not a name", "Letters, digits, '-' and '_', starting with a letter or digit, 63 at most."
    if kind == "missing":
        return "missing", _for_example(path, raw, "Add it")
    return _bad_value(details, path, raw)


def _bad_value(details: ErrorDetails, path: KeyPath, raw: Any) -> tuple[str, str]:
    context = details.get("ctx", {})
    match details["type"]:
        case "greater_than_equal":
            return "too small", f"At least {context['ge']:,}."
        case "less_than_equal":
            return "too large", f"At most {context['le']:,}."
        case "literal_error" | "enum":
            return "none of the known words", f"One of: {context['expected'].replace(chr(39), '')}."
        case fields.WITHOUT_TLS:
            return "reached without TLS", "An https:// address; http:// only for a server on this host."
        case "string_pattern_mismatch" | "value_error":
            return "not of the right form", _for_example(path, raw, "Write it")
    wanted = _WANTED.get(details["type"], "a value of another type")
    what = "empty" if details["type"].endswith("too_short") else "wrong type"
    return what, _for_example(path, raw, f"It must be {wanted}")


def _known(path: KeyPath, raw: Any) -> str:
    key = str(path[-1])
    model = model_at(path[:-1], raw)
    meant = did_you_mean(key, model.model_fields if model else ())
    if any(word in key.lower() for word in _HOLDS_A_SECRET):
        return f"Secrets never stand here: put it into a file (mode 0600) and name that. {meant}"
    return meant


def _for_example(path: KeyPath, raw: Any, start: str) -> str:
    found = field_at(path, raw)
    examples = found[1].examples if found and not models_of(found[1].annotation) else None
    return (
        f"{start}, for example: {found[0]} = {toml_value(examples[0])}" if found and examples else f"{start}."
    )
