"""Hooks: each is one call, of a program that is found whatever the path is."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.config.checks.context import Context, Misfit

_NO_ENTRY = "the calendar has no such entry"
_PATH = 'Write where it is, for example: command = ["/usr/local/bin/quiesce"].'
_ONE = 'Name one of them: command = ["/path/to/program"], url = "https://…" or url_file = "/path".'


def check(context: Context) -> Iterator[Misfit]:
    """Yield hooks that call nothing, or several things, or a program by its mere name, or of no entry."""
    entries = context.settings.calendar.entries()
    for name in context.settings.hooks:
        if name not in entries:
            yield Misfit(("hooks", name), _NO_ENTRY, f"One of: {', '.join(entries)}. A policy has its own.")
    for key, hook in context.settings.calls.items():
        if sum(map(bool, (hook.command, hook.url, hook.url_file))) != 1:
            yield Misfit(key, "calls not exactly one thing", _ONE)
        elif hook.command and not hook.command[0].startswith("/"):
            yield Misfit((*key, "command"), "the program is not named by its absolute path", _PATH)
