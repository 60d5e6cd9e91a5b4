"""Failures as a run records them, and back: typed errors for whoever waits for the run."""

from __future__ import annotations

import re

from strongroom.container.errors import FormatError
from strongroom.errors import StrongroomError, by_name, public_class
from strongroom.operations.errors import RunFailed
from strongroom.state.records import Run

_RECORDED = re.compile(r"^(?:\S+: )?(?P<code>[A-Za-z]+): (?P<message>.*)$", re.DOTALL)
_TO_DO = "\nWhat to do: "


def error_text(error: StrongroomError) -> str:
    """Return what a run records of an error beside its code: what happened, and what to do where the class
    of that code does not say it."""
    return joined(error.message, "" if error.hint == public_class(type(error)).default_hint else error.hint)


def joined(happened: str, to_do: str) -> str:
    """Return what happened and what to do as one text, which :func:`apart` takes apart."""
    return happened + (f"{_TO_DO}{to_do}" if to_do else "")


def code_of(text: str) -> str:
    """Return the code that a step's recorded error begins with; empty if it is none of ours."""
    code = text.partition(":")[0]
    return code if by_name(code) else ""


def apart(text: str | None) -> tuple[str, str]:
    """Return what happened and what to do, of what a run recorded."""
    happened, _, hint = (text or "").partition(_TO_DO)
    return happened, hint


def parse_error(text: str | None) -> StrongroomError | None:
    """Return the error that a run recorded as ``step: Code: message``, if it is one of ours."""
    happened, hint = apart(text)
    match = _RECORDED.match(happened)
    kind = by_name(match["code"]) if match else None
    return kind(match["message"], hint=hint or None) if match and kind else None


def class_in(text: str | None) -> str:
    """Return the class of a recorded error; empty if it has none. It is all that is told of one where names
    of secrets may not go."""
    error = parse_error(text)
    return error.code if error else code_of(text or "")


def loss_of(run: Run) -> StrongroomError | None:
    """Return the error of a run that made something of a damaged backup: the class of the first loss."""
    happened, hint = apart(run.error)
    kind = by_name(code_of(happened))
    if kind is None or not issubclass(kind, FormatError):
        return None
    return kind(f"run {run.id}: {happened.partition(': ')[2]}", hint=hint or None)


def failure_of(run: Run) -> StrongroomError:
    """Return the error of a run that made nothing: the one that it recorded, or that it failed."""
    if (error := parse_error(run.error)) is not None:
        return error
    happened, to_do = apart(run.error)
    reason = f": {happened}" if happened else ""
    return RunFailed(f"run {run.id} {run.state.value}{reason}", hint=to_do or None)
