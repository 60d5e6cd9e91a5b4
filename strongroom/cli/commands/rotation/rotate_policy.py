"""rotate: bring the backups of policies to the recipients that they name now."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from strongroom.cli.commands.rotation.render import Done
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.numbers import rate
from strongroom.cli.terminal.output import Output
from strongroom.errors import UsageError
from strongroom.state.records import Run
from strongroom.words import nearest

if TYPE_CHECKING:
    from strongroom.config import Settings
    from strongroom.operations.services import Services


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument("policy", metavar="POLICY", nargs="*", help="which (default: all that seal)")
    parser.add_argument(
        "--backup", metavar="ID", action="append", default=[], help="only this one; repeatable"
    )
    parser.add_argument(
        "--re-encrypt", action="store_true", help="seal anew under new keys (after a leak), not re-wrap"
    )
    parser.add_argument(
        "--renew", action="store_true", help="also what opens for just these: a keeper has a new key version"
    )
    parser.add_argument(
        "--remove-replaced",
        action="store_true",
        help="with --re-encrypt: delete the old backups, where the new ones are good and nothing locks",
    )
    parser.add_argument("--rate", metavar="N", type=rate, help="at most so many wrapping keys a second")
    parser.add_argument("--on-cluster", action="store_true", help="hand it to the cluster's recover workers")


def _rotate(arguments: Namespace, output: Output) -> None:
    from strongroom.cli.shared.settings import services, settings  # noqa: PLC0415 - the run store

    found = settings()
    if arguments.remove_replaced and (arguments.on_cluster or not arguments.re_encrypt):
        raise UsageError("--remove-replaced goes with --re-encrypt, in this process.")
    policies = _policies(arguments, found)
    if arguments.on_cluster:
        _submit(policies, arguments, output)
        return
    from strongroom.cli.shared.drive_run import require_all_whole  # noqa: PLC0415
    from strongroom.operations.rotation.outcome import results  # noqa: PLC0415

    built = services(found)
    runs = [_run(policy, arguments, built, output) for policy in policies]
    done = [one for run in runs for one in results(built.store, run.id)]
    if arguments.remove_replaced:
        done = [_removed(result, built) for result in done]
    said = Done(anew=arguments.re_encrypt, runs=runs, backups=done)
    output.answer(said.document(), said.lines())
    require_all_whole(runs)


def _removed(result: Mapping[str, Any], built: Services) -> Mapping[str, Any]:
    """Remove what a backup's new one replaces; what is gone and not hidden does not open any more."""
    from strongroom.operations.rotation.remove_replaced import remove_replaced  # noqa: PLC0415

    if not result.get("new"):
        return result
    removed = remove_replaced(built, result["backup"])
    still = [one for one in result["still"] if one["target"] not in removed.gone]
    still += [
        {**one, "until": "", "deleted": True, "old_versions": to_builtins(removed.hidden[one["target"]])}
        for one in result["still"]
        if one["target"] in removed.hidden
    ]
    return {**result, "still": still, "removed": list(removed.gone), "kept": removed.kept}


def _policies(arguments: Namespace, found: Settings) -> list[str]:
    sealing = [name for name, policy in found.policies.items() if policy.sealed]
    if unknown := [name for name in arguments.policy if name not in sealing]:
        raise UsageError(f"There is no policy '{unknown[0]}' that seals.", hint=nearest(unknown[0], sealing))
    if arguments.backup and len(arguments.policy) != 1:
        raise UsageError("--backup needs the one policy that the backup belongs to.")
    if not (chosen := arguments.policy or sealing):
        raise UsageError("No policy seals anything, so there is nothing to rotate.", hint="")
    return list(chosen)


def _run(policy: str, arguments: Namespace, built: Services, output: Output) -> Run:
    from strongroom.cli.shared.follow_run import by_ticket, watching  # noqa: PLC0415
    from strongroom.operations.rotation.rotate import RotateOptions  # noqa: PLC0415
    from strongroom.operations.rotation.submit import submit_rotation  # noqa: PLC0415
    from strongroom.operations.runs.drive import drive  # noqa: PLC0415

    options = RotateOptions(**_asked(arguments))
    run, tickets = submit_rotation(built, policy=policy, options=options, take_over=True)
    with watching(output, built.store) as watch:
        return drive(run, tickets, built, watch=by_ticket(watch))


def _asked(arguments: Namespace) -> dict[str, Any]:
    return {
        "reencrypt": arguments.re_encrypt,
        "renew": arguments.renew,
        "backups": tuple(arguments.backup),
        "rate": arguments.rate,
    }


def _submit(policies: list[str], arguments: Namespace, output: Output) -> None:
    from tasks.rotate import rotate_keys  # noqa: PLC0415

    asked = {
        "re_encrypt": arguments.re_encrypt,
        "renew": arguments.renew,
        "backup": tuple(arguments.backup),
        "rate": arguments.rate,
    }
    ids = {policy: rotate_keys.delay(policy=policy, **asked).id for policy in policies}
    words = [f"Submitted. Follow it: strongroom status {one} --follow" for one in ids.values()]
    output.answer({"ids": ids}, [*words, "The recover workers do it; they are normally stopped."])


COMMANDS = {
    "rotate": Command(
        _arguments,
        _rotate,
        "Put the new key into the policy's recipients first, and leave the old one configured until it is\n"
        "done. Needs a key that opens what there is. It may be repeated, and stopped, at any time.",
    )
}
