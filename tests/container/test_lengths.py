"""What the length of a file tells of a neighbour's text to somebody who may plant a secret.

The rows of many secrets share a compressed frame, and a text that stands there twice takes less room. Whoever
plants a guess beside a victim's note, backup for backup, would find the note out from the sizes of the files.
With padding all files have one size, unless a step of it happens to lie between the right guess and the wrong
ones; the threat model says so.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Sequence

import pytest
from msgspec.structs import replace

from strongroom.container import cobblestone
from strongroom.container.name_index import IndexHead, IndexRow, blocks, encode_row, write_name_index
from strongroom.container.wrapping import WrappingKey
from strongroom.model import Secret, VersionState
from tests.container.parts import KEY, SIGNER, sealed, secret

CANDIDATES = 8
TRIALS = 40
Sized = Callable[[Sequence[Secret]], int]


def container_size(secrets: Sequence[Secret]) -> int:
    return len(sealed(secrets, wrapping_key=WRAPPING_KEY)[0])


def index_size(secrets: Sequence[Secret]) -> int:
    """Return the size of the index of names, which has no metadata; what a person wrote there are tags."""
    rows = [
        IndexRow(s.name, 1, VersionState.LIVE, None, s.metadata, None, "00" * 16)
        for s in sorted(secrets, key=lambda s: s.name)
    ]
    made = list(blocks(map(encode_row, rows)))
    head = IndexHead(
        source="local",
        containers="7" * 64,
        previous=None,
        blocks=tuple((block.first, block.rows) for block in made),
    )
    parts: list[bytes] = []
    write_name_index(
        parts.append,
        head,
        lambda number: made[number].content,
        backup_id="20261125T024501Z-3f9a0c1d",
        policy="weekly",
        created_at="2026-11-25T02:45:01Z",
        wrapping_key=WRAPPING_KEY,
        signer=SIGNER,
    )
    return len(b"".join(parts))


WRAPPING_KEY = WrappingKey.create([KEY])
SIZES: dict[str, Sized] = {"container": container_size, "index of names": index_size}


def noted(name: str, note: str) -> Secret:
    return replace(secret(name, b"CANARY-value"), metadata={"note": note})


def words(r: random.Random, size: int) -> str:
    return "".join(r.choices(string.ascii_letters + string.digits, k=size))


def sizes_of(sized: Sized, seed: int) -> list[int]:
    """Plant each candidate in turn beside a victim's note, which is the first of them; return the sizes."""
    r = random.Random(seed)
    others = [noted(f"app/{n:02}", words(r, 12)) for n in range(r.randint(35, 45))]
    candidates = [words(r, 12) for _ in range(CANDIDATES)]
    there = [*others, noted("victim", candidates[0])]
    return [sized([*there, noted("planted", guess)]) for guess in candidates]


def told(sized: Sized) -> int:
    """Return how often the right guess of eight gives a smaller file than all others."""
    every = (sizes_of(sized, seed) for seed in range(TRIALS))
    return sum(sizes[0] < min(sizes[1:]) for sizes in every)


@pytest.mark.parametrize("kind", SIZES)
def test_a_planted_guess_is_not_told_by_the_size_of_the_file(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told(SIZES[kind]) <= TRIALS / CANDIDATES, "no more often than by lot"
    monkeypatch.setattr(cobblestone, "padded", lambda length: length)
    assert told(SIZES[kind]) >= TRIALS * 0.9
