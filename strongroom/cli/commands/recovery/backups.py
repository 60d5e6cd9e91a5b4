"""The catalog of this machine, where a recovery needs one: to find what a key opens, and to submit."""

from __future__ import annotations

from argparse import Namespace

from strongroom.cli.commands.recovery.desk import Desk
from strongroom.cli.shared import trust
from strongroom.cli.shared.backup_argument import target_of
from strongroom.cli.shared.services import run_store
from strongroom.cli.terminal import place
from strongroom.cli.terminal.output import Output
from strongroom.operations.archive.catalog import Rebuilt, rebuild
from strongroom.operations.archive.recoveries import Step


def know_backups(desk: Desk, step: Step) -> None:
    """Enter the backups of every target that answers, where this machine's catalog knows none.

    Which backups a key opens is found in the catalog, and that may have been lost, or be another host's.
    """
    if not desk.is_configured or desk.look(("backups", "list"), _has_some, bool).answer:
        return
    for target in desk.places.targets:
        desk.do(step, ("backups", "rebuild", "--from", target, *desk.signers()), _rebuild, Rebuilt, of=target)


def _has_some(arguments: Namespace, output: Output) -> bool:
    return bool(run_store().backups(limit=1))


def _rebuild(arguments: Namespace, output: Output) -> Rebuilt:
    here = place.find()
    store = run_store()
    store.examine()  # what is entered into a damaged file is lost with it
    known = trust.trusted_signers(here, arguments.signer)
    return rebuild(store, target_of(arguments.target, here), trusted=known)
