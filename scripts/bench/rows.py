"""What one call of the benchmark finds, as the JSON file beside the report has it.

All that is measured is a row: *what* was done, by *whom*, with how many secrets, and the rounds that were
measured. The report, the chart and the bars are made from rows alone, so nothing in them is written by hand.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

US = "strongroom"
TREE, JSONL = "tree", "jsonl"
FURTHER = {"million": ("targets",)}
"""Under what names rows of a part stand besides its own."""


class Measured(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One round. ``peak_mib`` is of the largest single process, children included; ``others`` is the share
    of the machine that everything else used meanwhile, 0 to 1."""

    seconds: float
    cpu_seconds: float | None = None
    peak_mib: float | None = None
    others: float | None = None


class Row(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One thing that was measured, and its rounds. ``layout`` is that of the data, where it matters;
    ``peak_mib`` of the warm-up too; ``facts`` are further numbers by their names, one for each round."""

    part: str
    what: str
    who: str = US
    layout: str = ""
    secrets: int = 0
    stored_bytes: int | None = None
    peak_mib: float | None = None
    rounds: list[Measured] = []
    facts: dict[str, list[float]] = {}

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        return self.part, self.what, self.who, self.layout, self.secrets

    @property
    def seconds(self) -> float:
        return statistics.median(one.seconds for one in self.rounds)

    @property
    def range(self) -> tuple[float, float]:
        took = [one.seconds for one in self.rounds]
        return min(took), max(took)

    @property
    def rate(self) -> float:
        """Secrets a second."""
        return self.secrets / self.seconds

    def median(self, number: str) -> float | None:
        """Return the median of ``cpu_seconds`` or ``others`` over the rounds that have it."""
        return _median([getattr(one, number) for one in self.rounds])

    def fact(self, name: str) -> float | None:
        return _median(list(self.facts.get(name, ())))


def _median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was to be measured and was not."""

    part: str
    what: str
    why: str


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """When and on what a part was measured, if by another call than the rest of its session."""

    began: str
    machine: dict[str, str]
    versions: dict[str, str]


class Session(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One call, or several put together. ``secrets`` and ``many`` are the two sizes that are held beside each
    other; ``took`` are the seconds of each part, what is not timed included; ``apart`` are the parts that a
    later call measured."""

    seed: int
    secrets: int
    many: int
    began: str
    machine: dict[str, str] = {}
    versions: dict[str, str] = {}
    rows: list[Row] = []
    failed: list[Failure] = []
    took: dict[str, float] = {}
    apart: dict[str, Origin] = {}

    def forget(self, part: str) -> None:
        """Take out what a part found, as it is measured anew."""
        parts = {part, *FURTHER.get(part, ())}
        self.rows = [row for row in self.rows if row.part not in parts]
        self.failed = [failure for failure in self.failed if failure.part not in parts]
        self.took.pop(part, None)
        self.apart.pop(part, None)

    def row(
        self, what: str, who: str = US, *, layout: str | None = None, secrets: int | None = None
    ) -> Row | None:
        """Return what was measured of this, or ``None``."""
        for row in self.rows:
            if (row.what, row.who) != (what, who) or not row.rounds:
                continue
            if layout in (None, row.layout) and secrets in (None, row.secrets):
                return row
        return None

    def of(self, part: str) -> Iterator[Row]:
        return (row for row in self.rows if row.part == part and row.rounds)


class Journal:
    """Keeps a session in its file as it grows, so that a crash loses no more than what was being measured."""

    def __init__(self, session: Session, file: Path) -> None:
        self.session = session
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        self.write()

    def add(
        self,
        row: Row,
        measured: Measured | None = None,
        *,
        warm_up: bool = False,
        stored_bytes: int | None = None,
        facts: Mapping[str, float] | None = None,
    ) -> None:
        """Note what was found of a row, which need not be there yet. Of a warm-up the memory alone counts."""
        known = next((other for other in self.session.rows if other.key == row.key), None)
        if known is None:
            known = row
            self.session.rows.append(row)
        if measured and measured.peak_mib is not None:
            known.peak_mib = max(known.peak_mib or 0.0, measured.peak_mib)
        if measured and not warm_up:
            known.rounds.append(measured)
        if stored_bytes is not None:
            known.stored_bytes = stored_bytes
        for name, number in (facts or {}).items():
            known.facts.setdefault(name, []).append(number)
        self.write()

    def failed(self, part: str, what: str, why: object) -> None:
        self.session.failed.append(Failure(part=part, what=what, why=str(why).strip()[-400:]))
        self.write()

    def write(self) -> None:
        content = msgspec.json.format(msgspec.json.encode(self.session), indent=1) + b"\n"
        beside = self._file.with_suffix(".part")
        beside.write_bytes(content)
        beside.replace(self._file)


def read(file: Path) -> Session:
    """Return the session that a file has."""
    return msgspec.json.decode(file.read_bytes(), type=Session)
