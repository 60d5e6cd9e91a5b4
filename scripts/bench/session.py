"""All that one call of the benchmark finds."""

from __future__ import annotations

from dataclasses import dataclass, field

from scripts.bench.bars import Verdict
from scripts.bench.find import Finds
from scripts.bench.pipeline import PipelineRun
from scripts.bench.reads import Reads
from scripts.bench.regions import RegionRun
from scripts.bench.restores import RestoreTimes
from scripts.bench.rounds import Results
from scripts.bench.vault import VaultReads


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The same jobs on many more secrets, run once, for their memory and reads."""

    secrets: int
    results: Results
    reads: Reads | None


@dataclass(kw_only=True)
class Session:
    """What the report prints. ``secrets`` and ``repeat`` are of the comparison."""

    secrets: int
    repeat: int
    generator: str
    machine: dict[str, str]
    versions: dict[str, str]
    results: Results
    reads: Reads | None = None
    memory: Memory | None = None
    seal_rate: float | None = None
    pipeline: list[PipelineRun] = field(default_factory=list)
    regions: RegionRun | None = None
    vault: VaultReads | None = None
    finds: Finds | None = None
    restores: RestoreTimes | None = None
    verdicts: list[Verdict] = field(default_factory=list)
