"""shred: make backups of an erasable policy unreadable for good, and prove it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from msgspec.structs import replace

from strongroom.cli.commands.keys.arguments import ShredBackups
from strongroom.cli.errors import ShredPending
from strongroom.cli.shared import access_log, admission
from strongroom.cli.shared.passphrases import asking
from strongroom.cli.shared.services import open_services, run_store
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural, verb
from strongroom.config import load_settings
from strongroom.model import ApprovalAction
from strongroom.operations.archive.shredding import Shredding, events, read
from strongroom.operations.errors import ConfirmationRequired
from strongroom.operations.keys.shred import advance, begin, note_lost
from strongroom.operations.keys.shred_plan import ShredPlan, make_plan
from strongroom.sheet import Lines, Sheet, Table
from strongroom.system.process import who
from strongroom.times import rfc3339
from strongroom.wiring.key_services import scope


def shred_backups(given: ShredBackups, output: Output) -> Answer:
    if given.subject.status:
        return _status(given.backup)
    settings = load_settings()
    services, keys = open_services(settings), scope(settings, asking())
    if given.subject.lost:
        note_lost(services, keys, given.subject.lost, by=who(), reason=given.reason or "")
    if given.subject.policy:
        before = None if given.before is None else rfc3339(given.before)
        plan = make_plan(services, keys, policy=given.subject.policy, backups=given.backup, before=before)
        if given.dry_run:
            shown = tuple(replace(key, witness=None) for key in plan.keys)
            return Answer(record=replace(plan, keys=shown), sheet=_plan_sheet(plan))
        output.note(_plan_sheet(plan).text().rstrip())
        _require_approved(plan)
        _confirm(given)
        begin(services, keys, plan, by=who())
    done = advance(services, keys)
    left = sum(not shredding.done for shredding in done)
    pending = ShredPending(f"{plural(left, 'backup')} of {len(done)} could not be shredded yet.")
    return Answer(
        record={"backups": done},
        sheet=_sheet(done, nothing="Nothing is pending."),
        error=pending if left else None,
    )


def _require_approved(plan: ShredPlan) -> None:
    """Ask for approvals where the configuration wants them: nothing brings back what is shredded."""
    backups = sorted(meant.backup for meant in plan.backups)
    keys = sorted((key.name, str(key.epoch.version)) for key in plan.keys)
    access_log.require_approved(
        place.find(),
        ApprovalAction.SHRED,
        {"backups": backups, "keys": keys},
        policy=plan.policy,
        size=sum(backup.secrets for backup in plan.backups),
        lines=(
            f"destroy {plural(len(keys), 'key')} for good: {', '.join(name for name, _ in keys)}",
            *(f"backup {backup}" for backup in backups),
        ),
    )


def _confirm(given: ShredBackups) -> None:
    """Have the policy's name typed: a yes is said too easily to what nothing brings back."""
    typed = given.confirm
    if typed is None:
        if not prompts.somebody_there():
            raise ConfirmationRequired(
                "Shredding cannot be undone, and there is no terminal to ask on.",
                hint="Nothing was changed. Repeat with --confirm and the policy's name.",
            )
        print(
            "Nothing brings this back. Type the policy's name to go on: ", end="", file=sys.stderr, flush=True
        )
        typed = sys.stdin.readline().strip()
    if typed != given.subject.policy:
        raise ConfirmationRequired("That is not the policy's name.", hint="Nothing was changed.")


def _plan_sheet(plan: ShredPlan) -> Sheet:
    backups = [
        (meant.backup, meant.created_at, meant.secrets, ", ".join(meant.targets)) for meant in plan.backups
    ]
    keys = [
        (
            key.name,
            key.epoch.version,
            key.epoch.key.partition(":")[0],
            key.where,
            "; ".join(f"not proven: {doubt}" for doubt in key.doubts),
        )
        for key in plan.keys
    ]
    total = sum(backup.secrets for backup in plan.backups)
    kept = plural(plan.kept, "backup")
    remarks = [
        f"{plural(total, 'secret')} in all; {kept} of the policy {verb(plan.kept, 'stay')}.",
        *(
            f"{meant.backup} also opens for '{name}', which cannot be destroyed: only deletion shreds it."
            for meant in plan.backups
            for name in meant.stays
        ),
        *(f"{other} holds the same secrets and is not to be shredded." for other in plan.kin),
        *(f"target '{name}' does not answer: {why}" for name, why in sorted(plan.unseen.items())),
        *(
            f"{envelope.name} on '{envelope.target}' is no envelope: {envelope.code}"
            for envelope in plan.aside
        ),
    ]
    return Sheet(
        verdict=f"{plural(len(plan.backups), 'backup')} of policy '{plan.policy}' become unreadable for good",
        parts=[
            Table(("Backup", "Made", "Secrets", "On"), backups),
            Lines(remarks),
            Table(("Key", "Version", "Kind", "Where", ""), keys, "Destroyed are"),
        ],
    )


# -- what is on record ---------------------------------------------------------


def _status(backups: Sequence[str]) -> Answer:
    store = run_store()
    record = read(store, admission.trusted_signers(place.find()))
    found = [shredding for name, shredding in record.backups.items() if not backups or name in backups]
    return Answer(
        record={
            "backups": found,
            "keys": list(record.now.values()),
            "refused": record.refused,
            "proof": list(events(store)),
        },
        sheet=_sheet(found, nothing="Nothing was ever shredded."),
        warnings=tuple(
            f"not believed: {refusal} Somebody wrote to the state database: treat it as an incident."
            for refusal in record.refused
        ),
    )


def _sheet(found: Sequence[Shredding], *, nothing: str) -> Sheet:
    rows = [
        (
            shredded.meant.backup,
            "shredded"
            if shredded.done
            else f"pending until {shredded.judged.until or 'a day that nobody knows'}",
            "; ".join(shredded.judged.reasons),
        )
        for shredded in found
    ]
    return Sheet(parts=[Table(("Backup", "State", "Why"), rows, nothing=nothing)])
