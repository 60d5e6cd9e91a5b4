"""backup-health-check and health-advanced: is everything well? Looked at, never made well by looking."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from strongroom.cli.shared import identity_options
from strongroom.cli.shared.settings import asking, settings
from strongroom.cli.terminal import place
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.numbers import limit
from strongroom.cli.terminal.output import Output
from strongroom.errors import StrongroomError, UsageError
from strongroom.model import Depth

if TYPE_CHECKING:
    from strongroom.cli.terminal.progress import Advance
    from strongroom.config import Settings
    from strongroom.container.manifest import Manifest
    from strongroom.keys import Opener
    from strongroom.operations.findings import Finding
    from strongroom.operations.health.policies import Policy
    from strongroom.operations.health.replica import Entering, Means
    from strongroom.operations.services import Services
    from strongroom.state.records import CatalogEntry
    from strongroom.targets import Target

DEPTHS = (Depth.DIGEST, Depth.OPENED, Depth.COMPARED)
CHECKS = {
    "accessibility": "targets answer and have it whole, in as many places and as long as the policy demands",
    "integrity": "every byte is the one that was written, of a trusted signer; no fewer secrets than before",
    "encryption": "sealed for exactly those whom the policy names now; no key withdrawn, unproven or too old",
}


def _backups_arguments(parser: ArgumentParser) -> None:
    for name, what in CHECKS.items():
        parser.add_argument(
            f"--check-{name}", dest="checks", action="append_const", const=name, default=[], help=what
        )
    parser.add_argument(
        "--policy", metavar="NAME", action="append", default=[], help="only of this policy; repeatable"
    )
    parser.add_argument(
        "--target", metavar="NAME", action="append", default=[], help="only on this target; repeatable"
    )
    parser.add_argument(
        "--all", action="store_true", help="every backup that is kept, files too, not only the newest"
    )
    parser.add_argument(
        "--depth",
        type=Depth,
        choices=DEPTHS,
        metavar="DEPTH",
        default=Depth.DIGEST,
        help="how deep --check-integrity reads: digest (the default; no key), opened, compared",
    )
    identity_options.add_arguments(parser)


def _backups(arguments: Namespace, output: Output) -> int:
    from strongroom.cli.commands.health import render  # noqa: PLC0415 - the run store
    from strongroom.operations.findings import exit_code  # noqa: PLC0415
    from strongroom.operations.health.backups import newest_of, retained_backups  # noqa: PLC0415
    from strongroom.operations.health.files import file_backups  # noqa: PLC0415
    from strongroom.wiring.read_only import looking_services, policies_now  # noqa: PLC0415

    found = settings()
    _refuse_unknown(arguments, found)
    built = identity_options.with_typed(looking_services(found, ask=asking()), arguments, output)
    policies = policies_now(found, built)
    every = retained_backups(built)
    chosen = every if arguments.all else newest_of(every)
    chosen = [one for one in chosen if not arguments.policy or one.policy in arguments.policy]
    files = file_backups(built) if arguments.all and not (arguments.policy or arguments.target) else []
    findings = _looked(
        arguments, found, built, output, chosen=chosen, files=files, every=every, policies=policies
    )
    backups = [one.backup for one in (*chosen, *files)]
    document = render.document(findings, checks=arguments.checks or list(CHECKS), backups=backups)
    output.answer(document, render.of_backups(findings, len(backups)))
    return exit_code(findings)


def _refuse_unknown(arguments: Namespace, found: Settings) -> None:
    from strongroom.cli.commands.setup.probe import chosen  # noqa: PLC0415 - with its errors

    chosen(arguments.policy, found.policies)
    chosen(arguments.target, found.targets)
    deep = arguments.depth is not Depth.DIGEST
    if deep and arguments.checks and "integrity" not in arguments.checks:
        raise UsageError("--depth says how deep --check-integrity reads, and that was not asked for.")


def _looked(
    arguments: Namespace,
    found: Settings,
    built: Services,
    output: Output,
    *,
    chosen: Sequence[CatalogEntry],
    files: Sequence[CatalogEntry],
    every: Sequence[CatalogEntry],
    policies: dict[str, Policy],
) -> list[Finding]:
    from strongroom.cli.terminal.progress import counting  # noqa: PLC0415
    from strongroom.operations.health import files as health_files  # noqa: PLC0415
    from strongroom.operations.health.backups import check, nothing_seen  # noqa: PLC0415
    from strongroom.operations.health.catalog import none_yet  # noqa: PLC0415

    only = frozenset(arguments.target)
    with counting(output, "replicas", len(chosen) * len(only or found.targets)) as advance:
        means = _means(arguments, found, built, output, advance)
        findings = check(means, chosen, policies, every=every, targets=only)
        findings += health_files.check(means, files)
    first = min(means.checks)
    wanted = [name for name in policies if not arguments.policy or name in arguments.policy]
    without = [name for name in wanted if name not in {one.policy for one in every}]
    findings += [none_yet(first, name, policies[name]).on(policy=name) for name in without]
    return [*findings, *nothing_seen(findings, first)]


def _means(arguments: Namespace, found: Settings, built: Services, output: Output, advance: Advance) -> Means:
    from strongroom.cli.shared.inspection import Means as Looking  # noqa: PLC0415
    from strongroom.cli.shared.inspection import digest_key  # noqa: PLC0415
    from strongroom.operations.health.replica import Means  # noqa: PLC0415
    from strongroom.wiring.alerts import limits  # noqa: PLC0415
    from strongroom.wiring.read_only import lock_caps  # noqa: PLC0415

    digest_key(Looking(arguments.depth, output, place.find()))  # says what lacks before anything is read
    return Means(
        services=built,
        checks=frozenset(arguments.checks or CHECKS),
        depth=arguments.depth,
        entering=_entering(arguments, output),
        identities=_identities(arguments, built, output),
        limits=limits(found),
        caps=lock_caps(found),
        progress=advance,
    )


def _identities(arguments: Namespace, built: Services, output: Output) -> tuple[Opener, ...]:
    """Return what opens, if that is asked for: once, for all threads. Without it the digests are read."""
    if arguments.depth is Depth.DIGEST:
        return ()
    try:
        return tuple(built.identities())
    except StrongroomError as error:
        output.warn(f"What opens is not to be had here: {error.message}")
        return ()


def _entering(arguments: Namespace, output: Output) -> Entering:
    """Return what leaves on record that a replica is opened, and what reading it back told: as verify-backup
    does, of the same replica."""
    from strongroom.cli.shared import access_log  # noqa: PLC0415
    from strongroom.cli.shared.record_verification import entered  # noqa: PLC0415

    here = place.find()

    def entering(target: Target, manifest: Manifest, depth: Depth) -> AbstractContextManager[None]:
        if manifest.sealed and depth in (Depth.OPENED, Depth.COMPARED):
            where, backup = target.name, manifest.backup_id
            access_log.attempted(arguments, output, here, backup=backup, where=where)
        return entered(target, manifest, depth, here, output)

    return entering


# -- the whole installation ------------------------------------------------------


def _advanced_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--days", metavar="N", type=limit, default=30, help="the window of the key metrics (default: 30)"
    )


def _advanced(arguments: Namespace, output: Output) -> int:
    from msgspec import to_builtins  # noqa: PLC0415

    from strongroom.cli.commands.health import render  # noqa: PLC0415 - the run store
    from strongroom.cli.commands.health.areas import look  # noqa: PLC0415
    from strongroom.operations.findings import exit_code  # noqa: PLC0415

    findings, metrics = look(settings(), days=arguments.days, now=time.time())
    document = render.document(findings, metrics=to_builtins(metrics))
    output.answer(document, render.of_installation(findings))
    return exit_code(findings)


COMMANDS = {
    "backup-health-check": Command(
        _backups_arguments,
        _backups,
        "The newest backup of each policy, on every target at once, without a broker; without --check-… all\n"
        "three. What is found of a replica is put on record, as by verify-backup; nothing else is written.\n"
        "Exit code 0 only if nothing is wrong and all could be looked at; else that of the worst finding.",
    ),
    "health-advanced": Command(
        _advanced_arguments,
        _advanced,
        "Configuration, state, ledger, store, cluster, runs, slots, backups, drills, keys, media, disks,\n"
        "files and clock, in one look. No container is read, and nothing is written. Exit code 0 only if\n"
        "nothing is wrong and all could be looked at; else that of the worst finding.",
    ),
}
