"""Which configured keys work here, and which newest backups they open. Nobody is asked for anything."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from strongroom.cli.shared.try_key import try_key
from strongroom.config import PassphraseKey, Pkcs11Key, Settings
from strongroom.container.errors import DAMAGE, MissingPiece
from strongroom.container.manifest import Manifest
from strongroom.errors import StrongroomError
from strongroom.keys import Opener
from strongroom.keys.errors import KeyServiceUnavailable
from strongroom.keys.prompting import unasked
from strongroom.operations.findings import Finding, FindingState, good, remark, wrong
from strongroom.operations.key_management.diagnose import Diagnosed
from strongroom.operations.readiness.backups import OPENS, Looked, opens
from strongroom.operations.readiness.known_damage import having
from strongroom.system.deadlines import run_all
from strongroom.targets import Target
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.resilient import bare
from strongroom.wiring import adapters
from strongroom.wiring import keys as wired

KEYS = "key"
PATIENCE = 20.0
"""Seconds in which a target, a source or a key service has to answer. All are asked at once."""


class TriedKey(NamedTuple):
    """The result of trying a configured key, and what it opens with here."""

    trial: Diagnosed
    openers: tuple[Opener, ...]


Tries = Mapping[str, TriedKey | StrongroomError]


class OpeningMeans(NamedTuple):
    """With what backups are opened."""

    settings: Settings
    openers: tuple[Opener, ...]
    trusted: frozenset[str]


def target(name: str, settings: Settings) -> Target:
    """Return a target without patience: its first failure is what is said of it."""
    return bare(adapters.target(name, settings, prepare=False))


# -- keys ------------------------------------------------------------------------------------


def is_asked(settings: Settings, name: str) -> bool:
    """Tell whether a person is asked before a key opens: that is not done here."""
    given = bool({"STRONGROOM_PASSPHRASE", "STRONGROOM_PASSPHRASE_FILE"} & os.environ.keys())
    match settings.keys[name]:
        case PassphraseKey(file=None):
            return not given
        case Pkcs11Key(module=Path(), pin_file=None):
            return True
        case key:
            return wired.sealed_file(key) is not None and not given


def attempt(name: str, settings: Settings) -> TriedKey:
    """Try a key for real, and find out what opens for it here."""
    with unasked():
        trial = try_key(name, settings, None)
        return TriedKey(trial, _openers(name, settings, trial))


def _openers(name: str, settings: Settings, trial: Diagnosed) -> tuple[Opener, ...]:
    """Return what opens for a key here. One that may not seal may open all the same; one whose keeper is away
    is not waited for twice."""
    if trial.problem is not None and trial.problem.code == KeyServiceUnavailable.__name__:
        return ()
    try:
        return tuple(wired.identity(name, settings, None))
    except StrongroomError:  # the trial has said so
        return ()


def at_hand(tries: Tries) -> Iterator[Opener]:
    """Yield what opens here, of all keys that were tried."""
    for outcome in tries.values():
        if isinstance(outcome, TriedKey):
            yield from outcome.openers


def standing(
    tries: Mapping[str, TriedKey | StrongroomError], settings: Settings, *, needed: bool
) -> Iterator[Finding]:
    """Say how each key stands. One that fails is wrong only where a backup does not open without it."""
    for name in settings.keys:
        yield _stands(tries.get(name), needed=needed).on(target=name)


def _stands(outcome: TriedKey | StrongroomError | None, *, needed: bool) -> Finding:
    if outcome is None:
        return remark(KEYS, "somebody is asked before it opens, so it was not tried", _TRY)
    if isinstance(outcome, StrongroomError):
        return wrong(KEYS, outcome) if needed else remark(KEYS, outcome.message, outcome.hint)
    trial, problem = outcome.trial, outcome.trial.problem
    if problem is None:
        words = "sealed and opened" if trial.opens_here else "seals; what opens it is not on this machine"
        return good(KEYS, f"{words}: {trial.describes}")
    if not needed:
        return remark(KEYS, f"{problem.message} ({problem.code})", problem.hint)
    return Finding(
        check=KEYS,
        state=FindingState.WRONG,
        what=problem.message,
        to_do=problem.hint,
        code=problem.code,
        exit_code=problem.exit_code,
    )


_TRY = "'strongroom check keys --no-backups' tries it, and asks."


# -- what opens --------------------------------------------------------------------------------


def opened(newest: Mapping[str, Manifest], looked: Looked, means: OpeningMeans) -> Iterator[Finding]:
    """Open the newest backup of each policy, all at once."""
    works = {
        policy: partial(_open, manifest, having(policy, manifest.backup_id, looked), means)
        for policy, manifest in newest.items()
    }
    for policy, outcome in run_all(PATIENCE, works, late=lambda _: TargetUnavailable).items():
        found = [wrong(OPENS, outcome)] if isinstance(outcome, StrongroomError) else outcome
        yield from (finding.on(policy=policy, backup=newest[policy].backup_id) for finding in found)


def _open(manifest: Manifest, names: Sequence[str], means: OpeningMeans) -> list[Finding]:
    """Open a backup from the first target that gives it; what another one gave instead is a remark."""
    asked = frozenset(name for name in means.settings.keys if is_asked(means.settings, name))
    failed: dict[str, StrongroomError] = {}
    for name in names:
        try:
            with unasked():
                place = target(name, means.settings)
                found = opens(place, manifest, means.openers, trusted=means.trusted, asked=asked)
        except StrongroomError as error:
            failed[name] = error
        else:
            return [*(_not_from(key_name, error, manifest) for key_name, error in failed.items()), found]
    raise next(iter(failed.values()), MissingPiece("no target has it"))


def _not_from(name: str, error: StrongroomError, manifest: Manifest) -> Finding:
    mend = f"'strongroom backups repair {manifest.backup_id}' copies it from a good replica."
    hint = mend if isinstance(error, DAMAGE) else error.hint
    return remark(OPENS, f"not from there: {error.message} ({error.code})", hint).on(target=name)
