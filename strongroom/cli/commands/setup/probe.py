"""test-backup-storage, check-backup-permissions and benchmark-backup: proven and measured with real
requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from strongroom.cli.commands.setup import demo
from strongroom.cli.commands.setup.arguments import CheckRights, CheckStorage, MeasureSpeed
from strongroom.cli.shared import options
from strongroom.cli.shared.options import choose_named
from strongroom.cli.terminal import failures
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, in_line, plural, size
from strongroom.cli.terminal.screen import counting
from strongroom.config import Settings, load_settings
from strongroom.config.registry import broken_plugins
from strongroom.errors import ConfigError, StrongroomError, UsageError, by_name
from strongroom.operations.checks.benchmark import (
    Carried,
    Measured,
    TransferSpeed,
    measure,
    require_removable,
)
from strongroom.operations.checks.probe import (
    Probe,
    probe_all,
    probe_rights,
    probe_source,
    probe_stage,
    probe_storage,
)
from strongroom.operations.errors import RefusalMissing, RightMissing
from strongroom.sheet import Cell, Lines, Sheet, Table
from strongroom.sources.local import LocalStore
from strongroom.targets import ProbeResult, Target
from strongroom.targets.errors import TargetAbsent
from strongroom.wiring import adapters
from strongroom.words import nearest

# -- check storage and check rights: prove it with real requests --------------------------------


Work = Callable[[], "Probe"]


def test_storage(given: CheckStorage, output: Output) -> Answer:
    settings = load_settings()
    if not settings.targets:
        raise ConfigError(
            "no target is configured, so nothing was tested",
            hint="Name one under 'targets': 'strongroom config reference' shows how.",
        )
    names = choose_named(given.target, [*settings.targets, *settings.stages])
    work: list[Work] = [
        partial(_on_target, probe_storage, name, settings) for name in names if name in settings.targets
    ]
    work += [partial(_on_stage, name, settings) for name in names if name in settings.stages]
    return _answer(work, settings)


def check_permissions(given: CheckRights, output: Output) -> Answer:
    settings = load_settings()
    sources = tuple(settings.sources) or (options.LOCAL,)
    names = choose_named(given.name, [*sources, *settings.targets])
    probed = partial(probe_rights, role=given.role)
    work = [partial(_on_source, name, settings) for name in sources if name in names]
    work += [partial(_on_target, probed, name, settings) for name in settings.targets if name in names]
    return _answer(work, settings)


# -- probing -------------------------------------------------------------------


def _on_target(probe: Callable[..., Probe], name: str, settings: Settings) -> Probe:
    return probe(adapters.target(name, settings, prepare=True))


def _on_stage(name: str, settings: Settings) -> Probe:
    return probe_stage(adapters.stage(name, settings))


def _on_source(name: str, settings: Settings) -> Probe:
    settings_of = settings.sources.get(name)
    source = (
        LocalStore(settings.state_dir, name=name) if settings_of is None else adapters.source(name, settings)
    )
    if isinstance(source, LocalStore):  # its values are sealed: who has the key has them
        return probe_source(source, path=source.master_key_path)
    if settings_of is None:
        return probe_source(source)
    return probe_source(source, path=settings_of.folder, writing=settings_of.restored_into)


# -- what is said --------------------------------------------------------------


def _answer(work: Sequence[Work], settings: Settings) -> Answer:
    probes = probe_all(work)
    rows = [
        (f"{probe.kind} {probe.name}", check.what, check.outcome.value, check.detail)
        for probe in probes
        for check in probe.checks
    ]
    table = Table(("Place", "Check", "Outcome", "Detail"), rows)
    return Answer(record={"probes": probes}, sheet=Sheet(parts=[table]), error=_failure(probes, settings))


def _failure(probes: Sequence[Probe], settings: Settings) -> StrongroomError | None:
    """Return what failed: what does not work first, for nothing is backed up there."""
    missing = [(probe.name, check.error) for probe in probes for check in probe.of(ProbeResult.MISSING)]
    if missing and all(error == TargetAbsent.__name__ for _, error in missing):
        names = list(dict.fromkeys(name for name, _ in missing))
        return TargetAbsent(f"There is no such bucket or container as target {_some(names)} names.")
    if missing and (kind := _away([code for _, code in missing])):
        names = list(dict.fromkeys(name for name, _ in missing))
        return kind(f"no answer from {_some(names)}, so nothing shows what may be done there", hint=_ANSWER)
    failed_at = [check.detail for probe in probes for check in probe.of(ProbeResult.MISSING)]
    for broken in (*broken_plugins(), *adapters.unmade(settings)) if failed_at else ():
        if all(broken.message.rstrip(".") in detail for detail in failed_at):
            return broken
    for outcome, error, words, hint in (
        (ProbeResult.MISSING, RightMissing, "what has to work does not", _PUT_RIGHT),
        (ProbeResult.EXCESS, RefusalMissing, "what has to be refused is not", None),
    ):
        failed = [f"{probe.name}: {check.what}" for probe in probes for check in probe.of(outcome)]
        if failed:
            return error(f"{words}, in {plural(len(failed), 'check')}: {_some(failed)}", hint=hint)
    return None


def _away(codes: Sequence[str]) -> type[StrongroomError] | None:
    """Return the class of what did not answer, if that is all that failed: then no right is missing."""
    kinds = [by_name(code) for code in codes]
    return kinds[0] if all(kind is not None and kind.transient for kind in kinds) else None


def _some(failed: Sequence[str]) -> str:
    """Name a few: a token that may do too much may do so in a hundred places, which are all listed above."""
    left = len(failed) - _NAMED
    return "; ".join(failed[:_NAMED]) + (f"; and {left} more" if left > 0 else "")


_NAMED = 8
_ANSWER = "Put right what each line above says, then repeat. Nothing is known to be wrong with the rights."
_PUT_RIGHT = "Put right what each line above says; 'strongroom cluster rules' prints the rights that fit."


# -- bench: how fast this installation seals and uploads, on made-up secrets that nobody can open ---


def run_benchmark(given: MeasureSpeed, output: Output) -> Answer:
    settings = load_settings()
    sealing, uploading = given.measure_encryption_time, given.measure_upload_time
    if not (sealing or uploading):
        sealing = uploading = True
    targets = _targets(given.target, settings) if uploading else []
    with counting(output, "measuring", given.secret_count) as advance:
        measured = measure(
            demo.secrets(given.secret_count),
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
