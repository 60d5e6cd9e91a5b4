"""find: which backups hold a secret, in which version, on which targets, and when they were last verified."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from shlex import quote
from typing import Any, NamedTuple

from msgspec import Struct
from msgspec.structs import asdict

from strongroom.cli.commands.backups.arguments import FindSecrets, ReadFromTargets
from strongroom.cli.commands.backups.reading import BackupReader, reading
from strongroom.cli.shared import admission, options, sources
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.cli.terminal.screen import counting
from strongroom.container.name_index import Older
from strongroom.errors import StrongroomError
from strongroom.model import VersionState
from strongroom.operations.archive.coverage import Asked, BackupChoice, lacks
from strongroom.operations.archive.find import Findings, FoundSecret, SecretFacts, SecretQuery, VersionHolding
from strongroom.operations.archive.reading import Replicated
from strongroom.sheet import Lines, Sheet, Table
from strongroom.sources.errors import VersionNotFound
from strongroom.state.records import Replica
from strongroom.times import for_people, if_any
from strongroom.words import verb

# -- Why a secret that was found is not in the newest backup of its source: what speaks against that backup


class Gone(Struct, frozen=True, kw_only=True):
    """Secrets that the newest backup of their source lacks, and why that is not all that is known."""

    source: str
    backup: str
    names: tuple[str, ...]
    why: str

    @property
    def words(self) -> str:
        """What is gone and why, for people."""
        count = len(self.names)
        what = f"'{self.names[0]}'" if count == 1 else plural(count, "secret")
        newest = f"backup {self.backup}, the newest of source '{self.source}'"
        return f"{what} {verb(count, 'are')} not in {newest}: {self.why}"


def gone_by_a_finding(found: Sequence[FoundSecret], reader: BackupReader, asked: Asked) -> Iterator[Gone]:
    """Yield what is gone where a finding speaks against the backup. What somebody deleted is no news."""
    newest: dict[str, tuple[BackupChoice, list[FoundSecret]]] = {}
    for secret in found:
        choice = _newest(secret, reader)
        if choice is None or any(choice.manifest.backup_id in held.backups for held in secret.versions):
            continue
        newest.setdefault(choice.manifest.backup_id, (choice, []))[1].append(secret)
    for backup, (choice, those) in newest.items():
        findings = reader.earlier(choice, asked).findings()
        if findings:
            names = tuple(found_secret.name for found_secret in those)
            yield Gone(source=those[0].source, backup=backup, names=names, why=findings[0].said)


def _newest(secret: FoundSecret, reader: BackupReader) -> BackupChoice | None:
    """Return the newest backup that was read and was to have a secret, by its name and tags."""
    asked = Asked(selection=secret.as_selection)
    those = (choice for choice in reader.read if choice.manifest.source == secret.source)
    return next((choice for choice in those if not lacks(choice.manifest, asked)), None)


# -- find: which backups hold a secret, in which version, on which targets, and when they were last verified


Verified = Mapping[str, Mapping[str, Replica]]
"""What the record here says of each backup on each target."""


def find_secrets(given: FindSecrets, output: Output) -> Answer:
    wanted = SecretQuery(pattern=given.pattern, tags=options.pairs(given.filter_tag, "--filter-tag"))
    findings = Findings()
    with (
        reading(given.read.source, output, indexed=not given.within.no_index) as reader,
        counting(output, "looking into", None) as advance,
    ):

        def look(backup: Replicated) -> list[SecretFacts]:
            return list(wanted.within(backup))

        def take(choice: BackupChoice, found: list[SecretFacts]) -> None:
            for facts in found:
                findings.add(facts, choice.manifest.backup_id, source=choice.manifest.source)
            advance(1)

        asked = wanted.asked(policy=given.within.policy or "", until=given.within.at)
        for source, period in reader.each(asked, look, take, wanted=wanted):
            findings.add(period.facts, *period.backups, source=source)
        every = list(findings.found())
        gone = list(gone_by_a_finding(every, reader, asked))
        found = _narrowed(every, given.version, wanted, reader)
    verified = _verified(reader.installation, found)
    way = _Way(_given(given.read), given.version)
    return Answer(
        record=_document(found, gone, reader, verified), sheet=_sheet(found, gone, reader, verified, way)
    )


def _narrowed(
    found: list[FoundSecret], version: int | None, wanted: SecretQuery, reader: BackupReader
) -> list[FoundSecret]:
    """Return what was found, of one version alone if that is asked for."""
    if not found:
        raise _nothing(wanted, reader)
    if version is None:
        return found
    narrow = [there for secret in found if (there := secret.at(version)) is not None]
    if not narrow:
        of = f"'{wanted.pattern}'"
        raise reader.missing(
            f"None of the {plural(len(reader.read), 'backup')} read holds version {version} of {of}",
            f"See which versions there are: strongroom backups history {quote(wanted.name or 'NAME')}",
            VersionNotFound,
        )
    return narrow


def _given(read: ReadFromTargets) -> str:
    """Return the words that say where and with what this command read, for another one."""
    options_given = {
        "--from-target": read.from_target,
        "--identity": read.opening.identity,
        "--signer": read.trust.signer,
    }
    pairs = ((option, word) for option, words in options_given.items() for word in words)
    return "".join(f" {option} {quote(str(word))}" for option, word in pairs)


def _nothing(wanted: SecretQuery, reader: BackupReader) -> StrongroomError:
    tags = "".join(f", tagged {key}={value}" for key, value in wanted.tags.items())
    near = reader.near(wanted.name) if wanted.name else ""
    return reader.missing(
        f"None of the {plural(len(reader.read), 'backup')} read holds '{wanted.pattern}'{tags}",
        f"{near}Names are case-sensitive, and complete: for a part of one write '*part*', in quotes.",
    )


def _verified(installation: InstallationPlace, found: list[FoundSecret]) -> Verified:
    """Return what the record here says of the backups; where there is none, nothing."""
    backups = {backup for secret in found for holding in secret.versions for backup in holding.backups}
    with suppress(StrongroomError):
        if (store := admission.find_run_store(installation)) is not None:
            return {
                backup: {replica.target: replica for replica in store.replicas(backup)} for backup in backups
            }
    return {}


# -- for people ----------------------------------------------------------------------


class _Way(NamedTuple):
    """With what the next command reads, and which version it is to bring back: the newest, if none is asked
    for."""

    given: str
    version: int | None

    def back(
        self, found: FoundSecret, holding: VersionHolding, backup: str, installation: InstallationPlace
    ) -> Iterator[str]:
        """Yield how to bring a version back to where it was, and an older one that the backup has too."""
        where, into = _into(found.source, installation)
        words = f"strongroom restore --secret-name {quote(found.name)}"
        rest = f" --backup {backup}{into}{self.given}"
        just = "" if self.version is None else f" --version {self.version}"
        yield (f"To bring version {holding.version} back{where}: {words}{just}{rest}")
        if older := [run.last for run in holding.older if run.has_value]:
            such = f"To bring an older one back, such as {older[-1]}{where}"
            yield (f"{such}: {words} --version {older[-1]}{rest}")


def _sheet(
    found: list[FoundSecret], gone: list[Gone], reader: BackupReader, verified: Verified, way: _Way
) -> Sheet:
    made = {choice.manifest.backup_id: choice for choice in reader.read}
    head: tuple[str, ...] = ("Name", "Source", "Version", "Written")
    rest = ("Backups", "Since", "Newest backup", "On", "Verified")
    rows = [_row(secret, holding, made, reader, verified) for secret in found for holding in secret.versions]
    if any(holding.older for secret in found for holding in secret.versions):
        olders = (_older(holding.older) for secret in found for holding in secret.versions)
        head = (*head, "Older ones")
        rows = [(*row[:4], older, *row[4:]) for row, older in zip(rows, olders, strict=True)]
    lines = [
        f"{plural(len(found), 'secret')} found in {plural(len(reader.read), 'backup')} read.",
        *(f"{gone_file.words}." for gone_file in gone),
        *(_next(found[0], made, reader, way) if len(found) == 1 else ()),
    ]
    return Sheet(parts=[Table((*head, *rest), rows), Lines(lines)])


def _older(runs: Sequence[Older]) -> str:
    """Return the older versions that lie in a backup beside the newest: '3, 5-9'."""
    return ", ".join(run.words for run in runs) or "-"


def _row(
    secret: FoundSecret,
    holding: VersionHolding,
    made: Mapping[str, BackupChoice],
    reader: BackupReader,
    verified: Verified,
) -> tuple[object, ...]:
    newest = holding.backups[0]
    aside = " (quarantine)" if made[newest].quarantine else ""
    return (
        secret.name,
        secret.source,
        f"{holding.version}{_limits(holding)}",
        holding.written_at or "-",
        len(holding.backups),
        made[holding.backups[-1]].manifest.created_at,
        f"{newest}{aside}",
        ", ".join(reader.places[newest]) or "nowhere whole",
        _last_verified(verified.get(newest, {})),
    )


def _limits(holding: VersionHolding) -> str:
    if holding.state is not VersionState.LIVE:
        return f" ({holding.state})"
    return "" if holding.has_value else " (no value)"


def _last_verified(replicas: Mapping[str, Replica]) -> str:
    """Say when the replica was read back that was last."""
    times = [
        (replica.verified_at, str(replica.verified))
        for replica in replicas.values()
        if replica.verified_at and replica.good
    ]
    if not times:
        return "not on record here"
    when, depth = max(times)
    return f"{depth} {for_people(when)}"


def _next(
    found: FoundSecret, made: Mapping[str, BackupChoice], reader: BackupReader, way: _Way
) -> Iterator[str]:
    """Say how to bring the newest value back that no quarantine holds and some target has whole."""
    for holding in found.versions:
        for backup in holding.backups if holding.has_value else ():
            if reader.places[backup] and not made[backup].quarantine:
                yield from way.back(found, holding, backup, reader.installation)
                return
    yield "No backup that was read, is whole and in no quarantine holds a value of it."


def _into(source: str, installation: InstallationPlace) -> tuple[str, str]:
    """Return where a secret goes back to: where it was. What the person has to fill in is said."""
    if (name := sources.way_into(source, installation)) == options.LOCAL:
        return "", ""
    if name:
        return "", f" --to {quote(name)}"
    return (
        f", name in place of SOURCE what to write into (nothing here writes into '{source}')",
        " --to SOURCE",
    )


# -- for machines --------------------------------------------------------------------


def _document(
    found: list[FoundSecret], gone: list[Gone], reader: BackupReader, verified: Verified
) -> dict[str, Any]:
    backups = {choice.manifest.backup_id: _backup(choice, reader, verified) for choice in reader.read}
    return {
        "secrets": [
            {
                "name": secret.name,
                "source": secret.source,
                "tags": secret.tags,
                "expires_at": secret.expires_at,
                "versions": [_holding(holding, backups) for holding in secret.versions],
            }
            for secret in found
        ],
        "gone": gone,
        "backups_read": len(reader.read),
        "backups_not_read": reader.not_read,
    }


def _holding(holding: VersionHolding, backups: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "version": holding.version,
        "state": holding.state,
        "written_at": holding.written_at,
        "has_value": holding.has_value,
        "older": list(map(asdict, holding.older)),
        "since": backups[holding.backups[-1]]["created_at"],
        "backups": [backups[backup] for backup in holding.backups],
    }


def _backup(choice: BackupChoice, reader: BackupReader, verified: Verified) -> dict[str, Any]:
    manifest = choice.manifest
    replicas = verified.get(manifest.backup_id, {})
    return {
        "backup": manifest.backup_id,
        "policy": manifest.policy,
        "created_at": manifest.created_at,
        "quarantine": choice.quarantine or None,
        "targets": [_target(name, replicas.get(name)) for name in reader.places[manifest.backup_id]],
    }


def _target(name: str, replica: Replica | None) -> dict[str, Any]:
    verified = None if replica is None or not replica.good else replica
    return {
        "name": name,
        "verified": verified and verified.verified,
        "verified_at": verified and if_any(verified.verified_at),
    }
