"""How many secrets a backup must hold not to be called degraded."""

from __future__ import annotations

FLOOR = 0.9
"""What part of the expected secrets a backup must hold not to be called degraded."""
REMEMBERED = 30 * 86_400.0
"""Seconds for which a drop goes on being told. Held against the backup before alone, it would be told
once, and the next backup would take what is left for all there is."""
