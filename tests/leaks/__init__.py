"""No planted value is found anywhere that it does not belong."""

from __future__ import annotations

from pathlib import Path
from typing import Final

SABOTEUR: Final = Path(__file__).with_name("saboteur")
"""The folder that breaks capturing in a process that has it on its ``PYTHONPATH``."""
