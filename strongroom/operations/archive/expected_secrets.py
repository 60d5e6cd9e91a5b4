"""How many secrets a backup must hold not to be called degraded."""

from __future__ import annotations

FLOOR = 0.9
"""The part of the expected secrets that a backup must hold not to be called degraded."""
REMEMBERED = 30 * 86_400.0
"""Seconds of earlier backups that a new one is compared with. Compared with the last one only, a drop would
be reported once, and the next backup would take what is left for all there is."""
