"""The hooks as this process's own configuration has them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from strongroom.config import Settings
from strongroom.config.hooks import HookSettings, HooksSettings
from strongroom.operations.scheduled import Hook, Hooks
from strongroom.system import private_file
from strongroom.wiring.channels import ping_of


def hooks(settings: Settings) -> dict[str, Hooks]:
    """Return what is called around the runs of each policy, and of each entry of the calendar."""
    found = {f"policy {name}": policy.hooks for name, policy in settings.policies.items()}
    found |= settings.hooks
    called = {name: _hooks(own) for name, own in found.items() if own is not None and own.named()}
    for name, policy in settings.policies.items():
        if policy.ping is not None:
            own = called.get(f"policy {name}", Hooks())
            called[f"policy {name}"] = replace(own, ping=ping_of(settings, policy.ping))
    return called


def absent_programs(settings: Settings) -> Iterator[str]:
    """Yield the hooks whose program is none on this host. They are called on hosts with control workers."""
    for key, hook in settings.calls.items():
        if hook.command and not os.access(hook.command[0], os.X_OK):
            where, program = ".".join(map(str, key)), hook.command[0]
            yield (
                f"{where}: {program} is no program on this host. Where it is to be called, that fails, and a "
                "run is not begun whose hook 'before' failed."
            )


def _hooks(found: HooksSettings) -> Hooks:
    calls = {when: _hook(hook) for when, hook in found.named().items()}
    return Hooks(before=calls.get("before"), after=calls.get("after"), on_error=calls.get("on_error"))


def _hook(found: HookSettings) -> Hook:
    return Hook(command=found.command, url=_url(found), timeout=found.timeout)


def _url(found: HookSettings) -> Callable[[], str] | None:
    if found.url_file is not None:
        return partial(_read, found.url_file)
    return None if found.url is None else partial(str, found.url)


def _read(path: Path) -> str:
    return private_file.read_private(path).strip()
