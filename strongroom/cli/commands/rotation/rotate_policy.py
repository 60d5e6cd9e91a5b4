"""rotate: bring the backups of policies to the recipients that they name now."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from msgspec import to_builtins

from strongroom.cli.commands.rotation.render import RotationDone
from strongroom.cli.shared.follow_run import by_ticket, showing_progress
from strongroom.cli.shared.identity_options import with_identities
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import Settings, load_settings
from strongroom.errors import UsageError
from strongroom.operations.rotation.outcome import results
from strongroom.operations.rotation.remove_replaced import remove_replaced
from strongroom.operations.rotation.rotate import RotateOptions
from strongroom.operations.rotation.submit import submit_rotation
from strongroom.operations.runs.drive import drive
from strongroom.operations.services import Services
from strongroom.sheet import Lines, Sheet
from strongroom.state.records import Run
from strongroom.words import nearest

_KEYS = "Leave the key out, or rotate in this process, without --cluster."


def rotate_policies(arguments: Namespace, output: Output) -> Answer:
    settings = load_settings()
    if arguments.remove_replaced and (arguments.cluster or not arguments.re_encrypt):
        raise UsageError("--remove-replaced goes with --re-encrypt, in this process.")
    policies = _policies(arguments, settings)
    if arguments.cluster:
        if arguments.identity or arguments.passphrase_file:
            raise UsageError("--cluster opens with the keys of the workers' configuration.", hint=_KEYS)
        return _submit(policies, arguments)
    services = with_identities(open_services(settings), arguments, output)
    runs = [_run(policy, arguments, services, output) for policy in policies]
    done = [result for run in runs for result in results(services.store, run.id)]
    if arguments.remove_replaced:
        done = [_removed(result, services) for result in done]
    return RotationDone(anew=arguments.re_encrypt, runs=runs, backups=done).answer()


def _removed(result: Mapping[str, Any], services: Services) -> Mapping[str, Any]:
    """Remove what a backup's new one replaces; what is gone and not hidden does not open any more."""
    if not result.get("new"):
        return result
    removed = remove_replaced(services, result["backup"])
    still = [copy for copy in result["still"] if copy["target"] not in removed.gone]
    still += [
        {**copy, "until": "", "deleted": True, "old_versions": to_builtins(removed.hidden[copy["target"]])}
        for copy in result["still"]
        if copy["target"] in removed.hidden
    ]
    return {**result, "still": still, "removed": list(removed.gone), "kept": removed.kept}


def _policies(arguments: Namespace, settings: Settings) -> list[str]:
    sealing = [name for name, policy in settings.policies.items() if policy.sealed]
    if unknown := [name for name in arguments.policy if name not in sealing]:
        raise UsageError(f"There is no policy '{unknown[0]}' that seals.", hint=nearest(unknown[0], sealing))
    if arguments.backup and len(arguments.policy) != 1:
        raise UsageError("--backup needs the one policy that the backup belongs to.")
    if not (chosen := arguments.policy or sealing):
        raise UsageError("No policy seals anything, so there is nothing to rotate.", hint="")
    return list(chosen)


def _run(policy: str, arguments: Namespace, services: Services, output: Output) -> Run:
    options = RotateOptions(**_asked(arguments))
    run, tickets = submit_rotation(services, policy=policy, options=options, take_over=True)
    with showing_progress(output, services.store) as watch:
        return drive(run, tickets, services, watch=by_ticket(watch))


def _asked(arguments: Namespace) -> dict[str, Any]:
    return {
        "reencrypt": arguments.re_encrypt,
        "renew": arguments.renew,
        "backups": tuple(arguments.backup),
        "rate": arguments.rate,
    }


def _submit(policies: list[str], arguments: Namespace) -> Answer:
    asked = {
        "re_encrypt": arguments.re_encrypt,
        "renew": arguments.renew,
        "backup": tuple(arguments.backup),
        "rate": arguments.rate,
    }
    from tasks.rotate import rotate_keys

    ids = {policy: rotate_keys.delay(policy=policy, **asked).id for policy in policies}
    lines = [f"Submitted. Follow it: strongroom runs show {run_id} --follow" for run_id in ids.values()]
    lines.append("The recover workers do it; they are normally stopped.")
    return Answer(record={"ids": ids}, sheet=Sheet(parts=[Lines(lines)]))
