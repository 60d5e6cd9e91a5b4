"""Calling a hook: a program, or one POST to a URL. Both are ended when their time is over.

A program's output is not kept, because nobody knows what it says.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from strongroom.operations.engine.calendar_entries import Hook
from strongroom.operations.errors import HookFailed
from strongroom.system.errors import NotTaken
from strongroom.system.program import NotStarted, TooSlow, post, run_program


def call(hook: Hook, facts: Mapping[str, str], what: str) -> None:
    """Call a hook with what it is told: as variables ``HOOK_…`` of a program, as JSON to a URL.

    Args:
        what: which hook it is, for messages.

    Raises:
        HookFailed: it could not be called, refused, or did not end in time.
        ConfigError: the file with its URL is missing, or open to others.
    """
    if hook.url is not None:
        _post(hook.url(), facts, hook.timeout, what)
    else:
        _run(hook, facts, what)


def _post(url: str, facts: Mapping[str, str], timeout: float, what: str) -> None:
    try:
        post(url, msgspec.json.encode(facts), timeout=timeout)
    except NotTaken as error:
        raise HookFailed(f"{what} {error.message}") from None


def _run(hook: Hook, facts: Mapping[str, str], what: str) -> None:
    told = {f"HOOK_{name.upper()}": value for name, value in facts.items()}
    try:
        status = run_program(hook.command, told=told, timeout=hook.timeout)
    except NotStarted as error:
        raise HookFailed(f"{what} could not be started: {error}") from None
    except TooSlow as error:
        raise HookFailed(f"{what} did not end within {hook.timeout:g} s, {error}") from None
    if status != 0:
        raise HookFailed(f"{what} ended with status {status}")
