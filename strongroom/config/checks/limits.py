"""Limits: do they leave room for each other?"""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.config.checks.context import Context, Misfit


def check(context: Context) -> Iterator[Misfit]:
    """Yield a stage that is too small for what may be on its way."""
    limits = context.settings.limits
    needed = limits.open_containers * limits.container_bytes
    if limits.stage_bytes < needed and not context.is_bad("limits"):
        yield Misfit(
            ("limits", "stage_bytes"),
            f"too small for {limits.open_containers} open containers",
            f"At least {needed:,}, or fewer or smaller containers.",
        )
