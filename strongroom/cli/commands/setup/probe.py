"""check storage and check rights: prove it with real requests."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial

from strongroom.cli.shared import options
from strongroom.cli.shared.choose_named import choose_named
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural
from strongroom.config import Settings, load_settings
from strongroom.errors import ConfigError, StrongroomError
from strongroom.operations.errors import RefusalMissing, RightMissing
from strongroom.operations.probe.source import probe_source
from strongroom.operations.probe.target import Probe, probe_all, probe_rights, probe_storage
from strongroom.sheet import Sheet, Table
from strongroom.sources.local import LocalStore
from strongroom.targets.errors import TargetAbsent
from strongroom.targets.probing import ProbeResult
from strongroom.wiring import adapters

Work = Callable[[], "Probe"]


def test_storage(arguments: Namespace, output: Output) -> Answer:
    settings = load_settings()
    if not settings.targets:
        raise ConfigError(
            "no target is configured, so nothing was tested",
            hint="Name one under 'targets': 'strongroom config reference' shows how.",
        )
    names = choose_named(arguments.target, settings.targets)
    return _answer([partial(_on_target, probe_storage, name, settings) for name in names])


def check_permissions(arguments: Namespace, output: Output) -> Answer:
    settings = load_settings()
    sources = tuple(settings.sources) or (options.LOCAL,)
    names = choose_named(arguments.name, [*sources, *settings.targets])
    probed = partial(probe_rights, role=arguments.role)
    work = [partial(_on_source, name, settings) for name in sources if name in names]
    work += [partial(_on_target, probed, name, settings) for name in settings.targets if name in names]
    return _answer(work)


# -- probing -------------------------------------------------------------------


def _on_target(probe: Callable[..., Probe], name: str, settings: Settings) -> Probe:
    return probe(adapters.target(name, settings, prepare=True))


def _on_source(name: str, settings: Settings) -> Probe:
    settings_of = settings.sources.get(name)
    source = (
        LocalStore(settings.state_dir, name=name) if settings_of is None else adapters.source(name, settings)
    )
    if isinstance(source, LocalStore):  # its values are sealed: who has the key has them
        return probe_source(source, path=source.master_key_path)
    path = settings_of.folder if settings_of else None
    return probe_source(source, path=path, writing=getattr(settings_of, "destination", False))


# -- what is said --------------------------------------------------------------


def _answer(work: Sequence[Work]) -> Answer:
    probes = probe_all(work)
    rows = [
        (f"{probe.kind} {probe.name}", check.what, check.outcome.value, check.detail)
        for probe in probes
        for check in probe.checks
    ]
    table = Table(("Place", "Check", "Outcome", "Detail"), rows)
    return Answer(record={"probes": probes}, sheet=Sheet(parts=[table]), error=_failure(probes))


def _failure(probes: Sequence[Probe]) -> StrongroomError | None:
    """Return what failed: what does not work first, for nothing is backed up there."""
    missing = [(probe.name, check.error) for probe in probes for check in probe.of(ProbeResult.MISSING)]
    if missing and all(error == TargetAbsent.__name__ for _, error in missing):
        names = list(dict.fromkeys(name for name, _ in missing))
        return TargetAbsent(f"There is no such bucket or container as target {_some(names)} names.")
    for outcome, error, words, hint in (
        (ProbeResult.MISSING, RightMissing, "what has to work does not", _PUT_RIGHT),
        (ProbeResult.EXCESS, RefusalMissing, "what has to be refused is not", None),
    ):
        failed = [f"{probe.name}: {check.what}" for probe in probes for check in probe.of(outcome)]
        if failed:
            return error(f"{words}, in {plural(len(failed), 'check')}: {_some(failed)}", hint=hint)
    return None


def _some(failed: Sequence[str]) -> str:
    """Name a few: a token that may do too much may do so in a hundred places, which are all listed above."""
    left = len(failed) - _NAMED
    return "; ".join(failed[:_NAMED]) + (f"; and {left} more" if left > 0 else "")


_NAMED = 8
_PUT_RIGHT = "Put right what each line above says; where a right is missing, ops/ holds policies that fit."
