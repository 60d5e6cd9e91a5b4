"""How large the blocks of a blob have to be."""

from __future__ import annotations

MOST_BLOCKS = 50_000
"""Of one blob, as the service allows."""


def block_size(size: int, *, at_least: int) -> int:
    """Return how large blocks must be for ``size`` bytes to fit into one blob."""
    return max(at_least, -(-size // MOST_BLOCKS))
