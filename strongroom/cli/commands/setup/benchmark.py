"""bench: how fast this installation seals and uploads, on made-up secrets that nobody can open."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from typing import Any

from strongroom.cli.commands.setup import demo_data
from strongroom.cli.terminal import failures
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, in_line, plural, size
from strongroom.cli.terminal.progress import counting
from strongroom.config import Settings, load_settings
from strongroom.errors import ConfigError, UsageError
from strongroom.operations.probe.benchmark import Measured, measure
from strongroom.operations.probe.transfer import Carried, TransferSpeed, require_removable
from strongroom.sheet import Cell, Lines, Sheet, Table
from strongroom.targets import Target
from strongroom.wiring import adapters
from strongroom.words import nearest


def run_benchmark(arguments: Namespace, output: Output) -> Answer:
    sealing, uploading = _wanted(arguments)
    settings = load_settings()
    targets = _targets(arguments.target, settings) if uploading else []
    with counting(output, "measuring", arguments.secret_count) as advance:
        measured = measure(
            demo_data.secrets(arguments.secret_count),
            targets,
            container_bytes=settings.limits.container_bytes,
            progress=advance,
        )
    failed = [carried.error for carried in measured.targets if carried.error is not None]
    return Answer(
        record=_document(measured, sealing=sealing),
        sheet=_sheet(measured, sealing=sealing),
        warnings=tuple(note for error in failed for note in getattr(error, "__notes__", ())),
        error=next(iter(failed), None),
    )


def _wanted(arguments: Namespace) -> tuple[bool, bool]:
    """Return whether to tell of sealing, and whether to upload."""
    sealing, uploading = arguments.measure_encryption_time, arguments.measure_upload_time
    if arguments.target and sealing and not uploading:
        raise UsageError("--target is for --measure-upload-time, which was not asked for.")
    return (sealing, uploading) if sealing or uploading else (True, True)


def _targets(wanted: Sequence[str], settings: Settings) -> list[Target]:
    if not settings.targets:
        raise ConfigError("no target is configured to be measured", hint=_NO_TARGET)
    if unknown := [name for name in wanted if name not in settings.targets]:
        raise UsageError(
            f"There is no target {in_line(unknown[0])!r}.", hint=nearest(unknown[0], settings.targets)
        )
    names = list(dict.fromkeys(wanted)) or list(settings.targets)
    targets = [adapters.target(name, settings, prepare=True) for name in names]
    require_removable(targets)
    return targets


def _document(measured: Measured, *, sealing: bool) -> dict[str, Any]:
    return {
        "secrets": measured.sealing.secrets,
        "versions": measured.versions,
        "containers": measured.containers,
        "size": measured.sealing.size,
        "sealing": _pace(measured.sealing) if sealing else None,
        "targets": [_carried(carried) for carried in measured.targets],
    }


def _pace(pace: TransferSpeed) -> dict[str, float]:
    return {
        "seconds": round(pace.seconds, 6),
        "secrets_per_second": round(pace.secrets_per_second, 1),
        "megabytes_per_second": round(pace.megabytes_per_second, 3),
    }


def _carried(carried: Carried) -> dict[str, object]:
    error = failures.as_document(carried.error) if carried.error is not None else None
    return {"target": carried.target, **_pace(carried.pace), "hidden": carried.hidden, "error": error}


def _sheet(measured: Measured, *, sealing: bool) -> Sheet:
    sealed = measured.sealing
    what = f"{plural(sealed.secrets, 'made-up secret')} ({plural(measured.versions, 'version')})"
    where = f"{plural(measured.containers, 'container')} that nobody can open"
    head = ("What", *map(Cell, _HEAD), "")
    table = Table(head, list(_rows(measured, sealing=sealing)), f"{what}, {size(sealed.size)} in {where}")
    by = "By one process, one container at a time; a backup has several of both."
    return Sheet(parts=[table, Lines([by, *_left(measured.targets)])])


def _rows(measured: Measured, *, sealing: bool) -> Iterator[tuple[str, ...]]:
    if sealing:
        yield "seal, reopen, compare", *_cells(measured.sealing), ""
    for carried in measured.targets:
        failed = f"failed: {carried.error.code}" if carried.error is not None else ""
        yield f"{carried.target}: put, read back", *_cells(carried.pace), failed


def _cells(pace: TransferSpeed) -> Iterator[str]:
    numbers = (f"{pace.seconds:.2f}", f"{pace.secrets_per_second:,.0f}", f"{pace.megabytes_per_second:,.1f}")
    return (number.rjust(len(head)) for number, head in zip(numbers, _HEAD, strict=True))


def _left(targets: Sequence[Carried]) -> Iterator[str]:
    """Say what of it is left on the targets, as far as they tell."""
    sound = [carried for carried in targets if carried.error is None]
    if clean := [carried.target for carried in sound if carried.hidden == 0]:
        yield f"Deleted again, and nothing is left: {', '.join(clean)}."
    for carried in sound:
        if carried.hidden is None:
            yield f"Deleted again; whether {carried.target} only hides what is deleted, it does not tell."
        elif carried.hidden:
            hidden = plural(carried.hidden, "object")
            yield f"Deleted again; {carried.target} hides {hidden} under 'probes/' until its rules end that."


_HEAD = ("Seconds", "Secrets/s", "   MB/s")
_NO_TARGET = "Name one under 'targets': 'strongroom config reference' shows how."
