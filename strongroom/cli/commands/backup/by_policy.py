"""backup --policy: the same steps as on the cluster, driven in this process."""

from __future__ import annotations

from argparse import Namespace

from strongroom.cli.shared import approval
from strongroom.cli.shared.drive_run import end_abandoned, finish
from strongroom.cli.shared.options import LOCAL
from strongroom.cli.shared.services import open_services
from strongroom.cli.terminal import place, prompts
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.config import load_settings
from strongroom.errors import ConfigError, UsageError
from strongroom.operations.backup.job import submit_backup
from strongroom.words import nearest

_NOT_BESIDE = (
    "file",
    "output",
    "include_values",
    "metadata_only",
    "encrypt_backup",
    "recipient",
    "filter_tag",
    "include",
    "exclude",
    "passphrase_file",
)


def back_up(arguments: Namespace, output: Output) -> Answer:
    """Run a policy's backup to its end and say what came of it."""
    refuse_beside_policy(arguments)
    settings = load_settings()
    policy = settings.policies.get(arguments.policy)
    if policy is None:
        known = nearest(arguments.policy, settings.policies)
        raise ConfigError(f"There is no policy '{arguments.policy}'.", hint=known)
    if policy.kind == "full":
        where = ", ".join(policy.targets)
        prompts.confirm(
            f"This puts every value that '{arguments.policy}' selects, sealed, on {where}",
            force=arguments.force,
        )
    services = open_services(settings, output=output)
    if policy.kind == "full" and policy.offline:
        approval.require_medium_approved(place.find(), arguments.policy, policy.targets, services)
    end_abandoned(arguments.policy, services, output)
    run, tickets = submit_backup(services, policy=arguments.policy)
    return finish(run, tickets, services, output)


def refuse_beside_policy(arguments: Namespace) -> None:
    """Refuse what a policy says itself. Raises UsageError."""
    beside = [name for name in _NOT_BESIDE if getattr(arguments, name)]
    beside += ["source"] if arguments.source != LOCAL else []
    if beside:
        said = ", ".join("FILE" if name == "file" else f"--{name.replace('_', '-')}" for name in beside)
        raise UsageError(f"A policy says that itself: --policy does not go with {said}.")
