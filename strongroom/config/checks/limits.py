"""Limits: do they leave room for each other?"""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.config.checks.context import Context, Finding


def check(context: Context) -> Iterator[Finding]:
    """Yield a stage that is too small for what may be on its way."""
    limits = context.settings.limits
    needed = limits.open_containers * limits.container_bytes
    if limits.stage_bytes < needed and not context.is_bad("limits"):
        yield Finding(
            ("limits", "stage_bytes"),
            f"too small for {limits.open_containers} open containers",
            f"At least {needed:,}, or fewer or smaller containers.",
        )
