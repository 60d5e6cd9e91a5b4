"""The catalog of this machine, where a recovery needs one: to find what a key opens, and to submit."""

from __future__ import annotations

from argparse import Namespace
from functools import partial

from strongroom.cli.commands.recovery.tools import RecoveryTools
from strongroom.cli.shared import trust
from strongroom.cli.shared.backup_argument import target_of
from strongroom.cli.shared.services import run_store
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output
from strongroom.operations.archive.catalog import Rebuilt, rebuild
from strongroom.operations.archive.recoveries import RecoveryStep


def know_backups(at: RecoveryTools, step: RecoveryStep) -> None:
    """Enter the backups of every target that answers, where this machine's catalog knows none.

    Which backups a key opens is found in the catalog, and that may have been lost, or be another host's.
    """
    if not at.is_configured or at.apart.run(_has_some, bool, typed=("backups", "list")).answer:
        return
    for target in at.record.places.targets:
        typed = ("backups", "rebuild", "--from", target, *at.given.signers())
        at.do(step, typed, partial(_rebuild, target=target), Rebuilt, of=target)


def _has_some(arguments: Namespace, output: Output) -> bool:
    return bool(run_store().backups(limit=1))


def _rebuild(arguments: Namespace, output: Output, *, target: str) -> Rebuilt:
    here = place.find()
    store = run_store()
    store.examine()  # what is entered into a damaged file is lost with it
    known = trust.trusted_signers(here, arguments.signer)
    return rebuild(store, target_of(target, here), trusted=known)
