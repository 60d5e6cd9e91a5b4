"""A vector: one scenario in one file. See README.md for its form."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

SUFFIX = ".vector"


class Vector(Struct, frozen=True, kw_only=True):
    """``fields`` is the header, in order; a name may come more than once."""

    fields: tuple[tuple[str, str], ...]
    body: bytes

    def one(self, name: str) -> str | None:
        """Return a field that comes once at most."""
        found = self.all(name)
        assert len(found) <= 1, name
        return found[0] if found else None

    def all(self, name: str) -> list[str]:
        return [value for field, value in self.fields if field == name]

    def encode(self) -> bytes:
        head = "".join(f"{name}: {value}\n" for name, value in self.fields)
        return head.encode() + b"\n" + self.body


def parse(data: bytes) -> Vector:
    """Take a vector's file apart."""
    head, _, body = data.partition(b"\n\n")
    lines = (line.partition(": ") for line in head.decode().split("\n"))
    return Vector(fields=tuple((name, value) for name, _, value in lines), body=body)


def stored() -> dict[str, bytes]:
    """Return the published files by name."""
    folder = Path(__file__).parent
    return {path.stem: path.read_bytes() for path in sorted(folder.glob(f"*{SUFFIX}"))}
