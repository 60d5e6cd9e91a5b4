"""shred: make backups of an erasable policy unreadable for good, and prove it."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from strongroom.cli.errors import ShredPending
from strongroom.cli.shared import approval, trust
from strongroom.cli.shared.services import open_services, run_store
from strongroom.cli.shared.settings import asking
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.output import Output, plural, verb
from strongroom.config import load_settings
from strongroom.errors import UsageError
from strongroom.model import ApprovalAction
from strongroom.operations.errors import ConfirmationRequired
from strongroom.operations.services import Services
from strongroom.operations.shredding.plan import Plan, make_plan
from strongroom.operations.shredding.record import Shredding, events, read
from strongroom.operations.shredding.scope import Scope
from strongroom.operations.shredding.shred import advance, begin, note_lost
from strongroom.system.person import who
from strongroom.timestamps import rfc3339
from strongroom.wiring.key_destruction import scope


def shred_backups(arguments: Namespace, output: Output) -> None:
    _check(arguments)
    if arguments.status:
        _status(arguments.backup, output)
        return
    built, scope = _built()
    if arguments.lost:
        note_lost(built, scope, arguments.lost, by=who(), reason=arguments.reason)
    if arguments.policy and not _begun(arguments, built, scope, output):
        return
    _go_on(built, scope, output)


def _check(arguments: Namespace) -> None:
    """Refuse words that mean nothing together: whoever wrote them meant something else."""
    if not arguments.policy and (arguments.before or arguments.dry_run or arguments.confirm):
        raise UsageError("--before, --dry-run and --confirm go with --policy.")
    if (arguments.resume or arguments.lost) and arguments.backup:
        raise UsageError("--resume and --lost are about all that is pending: leave --backup out.")
    if bool(arguments.lost) != bool(arguments.reason):
        raise UsageError("--lost and --reason go together.")


def _begun(arguments: Namespace, services: Services, scope: Scope, output: Output) -> bool:
    """Plan, show, and have it confirmed; tell whether it was begun."""
    plan = _plan(arguments, services, scope)
    if arguments.dry_run:
        output.answer(_planned(plan), _plan_lines(plan))
        return False
    for line in _plan_lines(plan):
        output.note(line)
    _require_approved(plan)
    _confirm(arguments)
    begin(services, scope, plan, by=who())
    return True


def _require_approved(plan: Plan) -> None:
    """Ask for approvals where the configuration wants them: nothing brings back what is shredded."""
    backups = sorted(one.backup for one in plan.backups)
    keys = sorted((key.name, str(key.epoch.version)) for key in plan.keys)
    approval.require_approved(
        place.find(),
        ApprovalAction.SHRED,
        {"backups": backups, "keys": keys},
        policy=plan.policy,
        size=sum(one.secrets for one in plan.backups),
        lines=(
            f"destroy {plural(len(keys), 'key')} for good: {', '.join(name for name, _ in keys)}",
            *(f"backup {backup}" for backup in backups),
        ),
    )


def _built() -> tuple[Services, Scope]:
    settings = load_settings()
    return open_services(settings), scope(settings, asking())


# -- planning ------------------------------------------------------------------


def _plan(arguments: Namespace, services: Services, scope: Scope) -> Plan:
    before = _moment(arguments.before) if arguments.before else None
    return make_plan(services, scope, policy=arguments.policy, backups=arguments.backup, before=before)


def _moment(text: str) -> str:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError("--before takes a date (2026-11-26) or a time (2026-11-26T08:00:00Z).") from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=UTC)
    return rfc3339(found)


def _confirm(arguments: Namespace) -> None:
    """Have the policy's name typed: a yes is said too easily to what nothing brings back."""
    typed = arguments.confirm
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
    if typed != arguments.policy:
        raise ConfirmationRequired("That is not the policy's name.", hint="Nothing was changed.")


def _planned(plan: Plan) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(plan)
    for key in document["keys"]:
        del key["witness"]
    return document


def _plan_lines(plan: Plan) -> Iterator[str]:
    total = sum(one.secrets for one in plan.backups)
    yield f"{plural(len(plan.backups), 'backup')} of policy '{plan.policy}' become unreadable for good:"
    for one in plan.backups:
        where = ", ".join(one.targets)
        yield f"  {one.backup}  {one.created_at}  {plural(one.secrets, 'secret')}  on {where}"
    kept = f"{plural(plan.kept, 'backup')} of the policy {verb(plan.kept, 'stay')}"
    yield f"  {plural(total, 'secret')} in all; {kept}."
    yield "Destroyed are:"
    for key in plan.keys:
        version = f" v{key.epoch.version}" if key.epoch.version else ""
        yield f"  '{key.name}'{version} ({key.epoch.key.partition(':')[0]}): {key.where}"
        yield from (f"    not proven: {doubt}" for doubt in key.doubts)
    for one in plan.backups:
        for name in one.stays:
            yield f"{one.backup} also opens for '{name}', which cannot be destroyed: only deletion shreds it."
    yield from (f"{other} holds the same secrets and is not to be shredded." for other in plan.kin)
    yield from (f"target '{name}' does not answer: {why}" for name, why in sorted(plan.unseen.items()))
    yield from (f"{one.name} on '{one.target}' is no envelope: {one.code}" for one in plan.aside)


# -- doing, and showing --------------------------------------------------------


def _go_on(services: Services, scope: Scope, output: Output) -> None:
    found = advance(services, scope)
    output.answer(_document(found), _lines(found) if found else ["Nothing is pending."])
    if left := [one for one in found if not one.done]:
        raise ShredPending(f"{plural(len(left), 'backup')} of {len(found)} could not be shredded yet.")


def _status(backups: Sequence[str], output: Output) -> None:
    store = run_store()
    record = read(store, trust.trusted_signers(place.find()))
    found = [one for name, one in record.backups.items() if not backups or name in backups]
    document = _document(found) | {
        "keys": msgspec.to_builtins(list(record.now.values())),
        "refused": record.refused,
        "proof": [msgspec.to_builtins(event) | {"at": rfc3339(event.at)} for event in events(store)],
    }
    for one in record.refused:
        output.warn(f"not believed: {one} Somebody wrote to the state database: treat it as an incident.")
    output.answer(document, _lines(found) if found else ["Nothing was ever shredded."])


def _document(found: Sequence[Shredding]) -> dict[str, Any]:
    return {
        "backups": [
            {
                "backup": one.meant.backup,
                "policy": one.policy,
                "shred": one.shred,
                "verdict": one.judged.verdict,
                "until": one.judged.until or None,
                "reasons": list(one.judged.reasons),
                "targets": {name: now.gone for name, now in sorted(one.targets.items())},
            }
            for one in found
        ]
    }


def _lines(found: Sequence[Shredding]) -> Iterator[str]:
    for one in found:
        if one.done:
            yield f"{one.meant.backup}  shredded"
        else:
            yield f"{one.meant.backup}  pending until {one.judged.until or 'a day that nobody knows'}"
        yield from (f"  {reason}" for reason in one.judged.reasons)
