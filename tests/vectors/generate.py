"""Writes the published vectors: ``python -m tests.vectors.generate``.

The same every time, byte for byte, for everything random is drawn from fixed seeds; a test
holds that. (The zstd library's version decides the bytes of compressed rows.)
"""

from __future__ import annotations

from pathlib import Path

from tests.vectors import targets
from tests.vectors.bad import scenarios
from tests.vectors.good import GOOD
from tests.vectors.vector import SUFFIX, stored


def vectors() -> dict[str, bytes]:
    """Return every vector by name."""
    return {
        name: make().encode() for name, make in sorted({**GOOD, **scenarios(), **targets.scenarios()}.items())
    }


def main() -> None:
    folder = Path(__file__).parent
    made = vectors()
    for name in stored().keys() - made.keys():
        folder.joinpath(name + SUFFIX).unlink()
    for name, content in made.items():
        folder.joinpath(name + SUFFIX).write_bytes(content)


if __name__ == "__main__":
    main()
