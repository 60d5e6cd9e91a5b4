"""Custody: may one accident make every backup of a policy unreadable, or hand it to everyone?"""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.config.checks.context import Context, Misfit
from strongroom.config.checks.paths import real
from strongroom.config.checks.secrets import secret_files
from strongroom.config.model import Settings
from strongroom.config.policies import PolicySettings
from strongroom.config.unlock_paths import called, unlock_paths_of
from strongroom.key_redundancy import single_points_of_failure


def check(context: Context) -> Iterator[Misfit]:
    """Yield keys without a spare, and credentials that would be lost with what they are to restore."""
    for name, policy in context.settings.policies.items():
        yield from _spare(context, name, policy)
    yield from _only_in_source(context.settings)


def _spare(context: Context, name: str, policy: PolicySettings) -> Iterator[Misfit]:
    """A scheduled policy makes backups for years; a lost key is found out on the worst day."""
    at = ("policies", name, "recipients")
    if not policy.schedule or not policy.sealed or not policy.recipients or context.is_bad(*at):
        return
    if any(name not in context.settings.keys for name in policy.recipients):
        return  # what they are to be is not known
    needed = single_points_of_failure(unlock_paths_of(context.settings, policy.recipients))
    if policy.single_recipient_reason or not needed:
        return
    what = called(context.settings, needed[0])
    yield Misfit(
        at,
        f"one loss would close these backups permanently: that of {what}",
        "Name a second key (or a quorum), or say in single_recipient_reason where the spare of this one is.",
    )


def _only_in_source(settings: Settings) -> Iterator[Misfit]:
    """What opens the way back must not lie in what has to be brought back."""
    for name, source in settings.sources.items():
        if source.folder is None:
            continue
        place = real(source.folder)
        for key, path in secret_files(settings).items():
            if key[0] in ("targets", "vaults", "keys") and place in real(path).parents:
                what = f"is inside source '{name}': a person who has to restore that source does not have it"
                yield Misfit(key, what, f"Keep it outside of {place}, and a copy apart from this machine.")
