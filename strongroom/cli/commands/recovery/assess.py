"""What is lost, and which backups bring it back: asked of sources and targets, without any key."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from msgspec import Struct

from strongroom.cli.shared import backup_selection, own_record, sources, trust
from strongroom.cli.shared.options import LOCAL
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.container.manifest import Manifest
from strongroom.container.marks import HoldMark
from strongroom.container.signing import Signers
from strongroom.errors import StrongroomError
from strongroom.operations.archive.choice import BackupChoice, describe_skipped
from strongroom.operations.archive.coverage import Asked, limits_of
from strongroom.operations.archive.recoveries import RecoveryPart, SourceSeen
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.archive.shortfall import Earlier, Shortfall
from strongroom.sources.errors import SourceUnavailable
from strongroom.system.deadlines import run_all

PATIENCE: Final = 20.0
"""Seconds that a source has to answer: one that takes longer counts as lost until somebody says otherwise."""
_WHOLE_SERVER: Final = "raft"
"""Why a backup is passed over: a target that is away may have it whole."""


class LossSurvey(Struct, frozen=True, kw_only=True):
    """What was found: each source, the backups that bring it back (the older first), what the newest of
    everything lacks of those before it, the last that was sound where it has damaged values, the targets that
    do not answer, and what newer was passed over."""

    sources: tuple[SourceSeen, ...]
    parts: Mapping[str, tuple[RecoveryPart, ...]]
    lacking: Mapping[str, Shortfall]
    sound: Mapping[str, RecoveryPart]
    away: Mapping[str, str]
    passed: tuple[str, ...]


def survey(arguments: Namespace, installation: InstallationPlace) -> LossSurvey:
    """Look at all sources and targets.

    Raises:
        UsageError: no target is configured, and none is named.
        TargetError: no target answers.
        NotABackup, UntrustedSigner, NotCovered: there is nothing to restore from.
    """
    known = trust.trusted_signers(installation, arguments.signer)
    chooser = backup_selection.make_chooser(arguments, installation, known)
    known = chooser.trusted
    chooser.choose(Asked(partial=True, until=arguments.at))  # nothing at all to restore from is told here
    names = _names(chooser, installation, arguments)
    choices = {name: choices_of(chooser, name, arguments.at) for name in names}
    held = own_record.read_record(installation).held
    lacking = {
        name: _shortfall(chooser, found[0], known, held)
        for name, found in choices.items()
        if found and not limits_of(found[0].manifest)
    }
    sound = {
        name: _part(chooser.choose(Asked(backup=doubt.sound, partial=True)), name)
        for name, found in lacking.items()
        for doubt in found.findings
        if doubt.sound and not doubt.fillable
    }
    parts = {name: tuple(_part(choice, name) for choice in found) for name, found in choices.items()}
    passed = {(passed_over.backup, passed_over.why): passed_over for passed_over in chooser.passed}
    return LossSurvey(
        sources=tuple(_seen(parts, lacking, installation)),
        parts=parts,
        lacking=lacking,
        sound=sound,
        away={name: f"{error.code}: {error.message}" for name, error in chooser.away.items()},
        passed=tuple(describe_skipped(passed.values())),
    )


def _names(chooser: Chooser, installation: InstallationPlace, arguments: Namespace) -> list[str]:
    """Return the sources that full policies back up; where none is configured, those of the backups."""
    policies = installation.section("policies").values()
    configured = [str(policy.get("source") or LOCAL) for policy in policies if policy.get("kind") == "full"]
    if configured:
        return list(dict.fromkeys(configured))
    listed = chooser.listed(Asked(values=True, until=arguments.at))
    return list(
        dict.fromkeys(signed.manifest.source for signed, ours in listed if ours and signed.manifest.values)
    )


def _shortfall(
    chooser: Chooser, choice: BackupChoice, trusted: Signers, held: Mapping[str, HoldMark]
) -> Shortfall:
    """Return what the newest backup lacks of those before it, as far as is known without keys."""
    earlier = Earlier(choice, Asked(), chooser, identities=(), trusted=trusted, opened=None, held=held)
    return earlier.shortfall()


def choices_of(chooser: Chooser, source: str, until: float | None) -> list[BackupChoice]:
    """Return the backups that bring a source back, the older first."""
    whole = _newest(chooser, source, Asked(source=source, until=until))
    found = [] if whole is None else [whole]
    since = whole.manifest.created_at if whole is not None else ""
    policies = dict.fromkeys(
        signed.manifest.policy
        for signed, ours in chooser.listed(Asked(partial=True, until=until))
        if ours and _is_newer_part(signed.manifest, source, since)
    )
    for policy in policies:
        asked = Asked(source=source, policy=policy, partial=True, until=until)
        part = _newest(chooser, source, asked)
        if part is not None and part.manifest.created_at > since:
            found.append(part)
    return sorted(found, key=lambda choice: choice.manifest.created_at)


def _newest(chooser: Chooser, source: str, asked: Asked) -> BackupChoice | None:
    return next((choice for choice in chooser.choices(asked) if choice.manifest.source == source), None)


def _is_newer_part(manifest: Manifest, source: str, since: str) -> bool:
    return (
        manifest.source == source
        and manifest.values
        and bool(limits_of(manifest))
        and manifest.created_at > since
    )


def _part(choice: BackupChoice, source: str) -> RecoveryPart:
    manifest = choice.manifest
    return RecoveryPart(
        source=source,
        policy=manifest.policy,
        backup=manifest.backup_id,
        made_at=manifest.created_at,
        secrets=manifest.counts.secrets,
        on=tuple(replica.name for replica in choice.replicas),
        into=source,
        limits=limits_of(manifest),
    )


# -- the sources ------------------------------------------------------------------------


def _seen(
    parts: Mapping[str, tuple[RecoveryPart, ...]],
    lacking: Mapping[str, Shortfall],
    installation: InstallationPlace,
) -> Iterator[SourceSeen]:
    works = {
        name: partial(_count, name, installation) for name in parts if not _is_server(name, installation)
    }
    counted = run_all(PATIENCE, works, late=lambda _: SourceUnavailable)
    for name, found in parts.items():
        held = max((part.secrets for part in found), default=0)
        if name in lacking and lacking[name].findings:  # what is missing there is no wish of anybody's
            held = max(held, lacking[name].holds + lacking[name].missing)
        outcome: Any = counted.get(name, 0)
        if isinstance(outcome, StrongroomError):
            yield SourceSeen(name=name, there=None, held=held, why=f"{outcome.code}: {outcome.message}")
        elif _is_server(name, installation):
            yield SourceSeen(
                name=name, there=held, held=held, why="a whole server: restore-snapshot replaces it"
            )
        else:
            yield SourceSeen(name=name, there=outcome, held=held, why=_remark(outcome, held, found))


def _count(name: str, installation: InstallationPlace) -> int:
    if name not in installation.section("sources") and name != LOCAL:
        raise SourceUnavailable(f"no source '{name}' is configured on this machine")
    return sum(1 for _ in sources.source_of(name, installation).list())


def _is_server(name: str, installation: InstallationPlace) -> bool:
    return installation.section("sources").get(name, {}).get("kind") == _WHOLE_SERVER


def _remark(there: int, held: int, found: tuple[RecoveryPart, ...]) -> str:
    if not found:
        return "no backup of it has values"
    if there == 0:
        return "it is empty"
    return f"{held - there:,} fewer than were backed up" if there < held else ""


def destinations(installation: InstallationPlace) -> list[str]:
    """Return where a recovery may restore into: the local store, and what is configured and takes writes."""
    configured = installation.section("sources")
    takes = [name for name, table in configured.items() if table.get("kind") not in ("files", _WHOLE_SERVER)]
    return list(dict.fromkeys((LOCAL, *takes)))


def usual_destination(source: SourceSeen, installation: InstallationPlace) -> str:
    """Return where a source is restored into if nobody says otherwise.

    A login to the same place that is marked as a destination: the one that backs up may mostly only read.
    Else the source itself; but if it does not answer, or takes no writes, another marked destination of its
    kind, or the local store, which takes every name. Nobody knows the kind of a source that is not configured
    here: any marked destination may do.
    """
    known, tables = destinations(installation), installation.section("sources")
    own = tables.get(source.name, {})
    marked = [name for name, table in tables.items() if table.get("destination") and name in known]
    here = _where(own, installation)
    same = [name for name in marked if _where(tables[name], installation) == here]
    if source.name in marked or same:
        return source.name if source.name in marked else same[0]
    if source.there is not None and source.name in known:
        return source.name
    alike = [name for name in marked if tables[name].get("kind") == own.get("kind")]
    usual = alike if own else marked
    return next(iter(usual), source.name if source.name in known else LOCAL)


def _where(table: Mapping[str, Any], installation: InstallationPlace) -> tuple[object, ...]:
    """Return what tells one place from another, whoever logs in."""
    login = installation.section("vaults").get(str(table.get("vault")), {})
    server = tuple(login.get(key) for key in ("address", "namespace"))
    return (*server, *(table.get(key) for key in ("kind", "region", "endpoint_url", "path")))
