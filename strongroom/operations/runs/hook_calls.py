"""Calling a hook: a program, or one POST to a URL. Both are ended when their time is over.

A program's output is not kept, because nobody knows what it says. A URL is in no error, because a secret may
be in it, and no redirect is followed: what is told goes where somebody configured it.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from functools import partial
from urllib.parse import SplitResult, urlsplit

import msgspec

from strongroom.errors import StrongroomError
from strongroom.operations.errors import HookFailed
from strongroom.operations.scheduled import Hook
from strongroom.system.deadlines import run_all
from strongroom.system.program import NotStarted, TooSlow, run_program

GOOD, REDIRECTS = range(200, 300), range(300, 400)


def call(hook: Hook, facts: Mapping[str, str], what: str) -> None:
    """Call a hook with what it is told: as variables ``HOOK_…`` of a program, as JSON to a URL.

    Args:
        what: which hook it is, for messages.

    Raises:
        HookFailed: it could not be called, refused, or did not end in time.
        ConfigError: the file with its URL is missing, or open to others.
    """
    if hook.url is not None:
        post(hook.url(), msgspec.json.encode(facts), hook.timeout, what)
    else:
        _run(hook, facts, what)


def _run(hook: Hook, facts: Mapping[str, str], what: str) -> None:
    told = {f"HOOK_{name.upper()}": value for name, value in facts.items()}
    try:
        status = run_program(hook.command, told=told, timeout=hook.timeout)
    except NotStarted as error:
        raise HookFailed(f"{what} could not be started: {error}") from None
    except TooSlow:
        raise HookFailed(f"{what} did not end within {hook.timeout:g} s, and was ended") from None
    if status != 0:
        raise HookFailed(f"{what} ended with status {status}")


def post(url: str, document: bytes, timeout: float, what: str) -> None:
    """Send JSON to a URL. Raises HookFailed if it is not taken in time."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise HookFailed(f"{what} has no http or https address")
    send = partial(_send, parts, document, timeout)
    [answer] = run_all(timeout, {what: send}, late=lambda _name: HookFailed).values()
    if isinstance(answer, StrongroomError):
        raise HookFailed(f"{what}: {answer.message}")
    if answer not in GOOD:
        words = ", a redirect, which is not followed" if answer in REDIRECTS else ""
        raise HookFailed(f"{what} was answered with status {answer}{words}")


def _send(parts: SplitResult, body: bytes, timeout: float) -> int:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Content-Type": "application/json", "User-Agent": "strongroom"}
    try:
        connection = _connection(parts, timeout)
        try:
            connection.request("POST", path, body, headers)
            return connection.getresponse().status
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise HookFailed(f"it could not be told: {type(error).__name__}") from None


def _connection(parts: SplitResult, timeout: float) -> http.client.HTTPConnection:
    host = str(parts.hostname)
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=timeout)
    context = ssl.create_default_context()
    return http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context)
