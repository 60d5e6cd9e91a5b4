"""validate: live secrets, looked at one by one and held against what backups hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from strongroom.cli.commands.checks.arguments import CheckSecrets, ComparedPlace
from strongroom.cli.shared import admission, identities, options, sources
from strongroom.cli.shared import restore_source as origins
from strongroom.cli.shared.restore_source import RestoreSource, SourceQuery
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, in_line, plural
from strongroom.cli.terminal.place import InstallationPlace
from strongroom.cli.terminal.screen import counting
from strongroom.config import PolicySettings, Settings, load_settings
from strongroom.container.errors import VerificationFailed
from strongroom.errors import ConfigError, SourceError, StrongroomError
from strongroom.keys import Opener
from strongroom.model import ListedSecret, Selection
from strongroom.operations.archive.coverage import Asked, BackupPlace
from strongroom.operations.archive.live_comparison import selected
from strongroom.operations.archive.select_backup import Chooser
from strongroom.operations.checks import live
from strongroom.operations.checks.live import LiveComparison, PolicyComparison, Validated
from strongroom.operations.checks.value_checks import SecretFinding
from strongroom.operations.errors import NothingSelected
from strongroom.sheet import Lines, Part, Sheet, Table
from strongroom.sources import Source
from strongroom.sources.batches import matches
from strongroom.sources.errors import EmptySource, SecretNotFound
from strongroom.system.lazy import lazy
from strongroom.wiring import adapters

if TYPE_CHECKING:
    from strongroom.state.store import RunStore

# A file is held against live secrets without a database, and so without what a database needs.
_EXISTING_RUN_STORE = lazy("strongroom.wiring.database:existing_run_store")

# -- What validate found, for people and machines, and what the whole comes to. No value is in any of it

NAMED = 5
SHOWN = 200
"""Findings that people are shown; machines get all of them."""

_TWICE = frozenset({"missing", "unreadable"})
"""What both looks at a secret tell, by itself and beside a backup, in words of their own."""


def answer(looked: Sequence[Validated], held: Sequence[PolicyComparison]) -> Answer:
    """Answer with all that was found; with SecretNotFound if secrets are missing and nothing else is wrong,
    with SourceError if nothing but sources could not be read, with VerificationFailed if anything else is."""
    findings = all_findings(looked, held)
    wrong = [finding for finding in findings if finding.wrong]
    remarks = len(findings) - len(wrong)
    return Answer(
        record={
            "sources": [_document(validated) for validated in looked],
            "policies": [_document(policy_comparison) for policy_comparison in held],
            "findings": findings,
            "wrong": len(wrong),
            "remarks": remarks,
        },
        sheet=Sheet(
            verdict="" if wrong else f"Nothing is wrong; {plural(remarks, 'remark')}.",
            parts=list(_parts(looked, held, findings)),
        ),
        error=_error(wrong) if wrong else None,
    )


def all_findings(looked: Sequence[Validated], held: Sequence[PolicyComparison]) -> list[SecretFinding]:
    """Return each finding once, with its source, the wrong ones first."""
    found: dict[tuple[str, str, str, str], SecretFinding] = {}
    pairs = [(validated.source, finding) for validated in looked for finding in validated.findings]
    pairs += [
        (policy_comparison.source, finding)
        for policy_comparison in held
        for finding in policy_comparison.findings
    ]
    for source, finding in pairs:
        named = replace(finding, source=finding.source or source)
        key = (named.source, named.secret, named.check, "" if named.check in _TWICE else named.text)
        if key not in found or named.wrong:
            found[key] = named
    return sorted(found.values(), key=lambda secret_finding: not secret_finding.wrong)


def _document(validated: Validated | PolicyComparison) -> dict[str, Any]:
    return {name: getattr(validated, name) for name in validated.__struct_fields__ if name != "findings"}


def _parts(
    looked: Sequence[Validated], held: Sequence[PolicyComparison], findings: Sequence[SecretFinding]
) -> Iterator[Part]:
    lines = []
    for validated in looked:
        lines.append(f"{_name(validated.source)}: {plural(validated.secrets, 'secret')} looked at")
        if validated.compared is not None:
            lines.append(f"  compared with the backup: {_words(validated.compared)}")
    yield Lines(lines)
    policies = [
        (
            policy_comparison.policy,
            policy_comparison.source,
            policy_comparison.backup or "-",
            policy_comparison.held,
            policy_comparison.now,
            policy_comparison.depth.value,
            _compared(policy_comparison),
        )
        for policy_comparison in held
    ]
    yield Table(("Policy", "Source", "Backup", "Held", "Now", "Depth", "Compared"), policies)
    rows = [
        (
            "wrong" if finding.wrong else "remark",
            finding.source,
            finding.secret or "-",
            finding.check,
            finding.text,
        )
        for finding in findings[:SHOWN]
    ]
    yield Table(("State", "Source", "Secret", "Check", "What"), rows)
    if len(findings) > SHOWN:
        yield Lines([f"{plural(len(findings) - SHOWN, 'more finding')}: --json has all of them."])


def _compared(policy_comparison: PolicyComparison) -> str:
    return "-" if policy_comparison.compared is None else _words(policy_comparison.compared)


def _words(counts: LiveComparison) -> str:
    numbers = {
        "the same": counts.same,
        "otherwise": counts.differs,
        "missing from the source": counts.missing,
        "not in the backup": counts.not_in_backup,
    }
    return ", ".join(f"{number:,} {words}" for words, number in numbers.items() if number) or "nothing there"


def _name(source: str) -> str:
    return "The local store" if source == options.LOCAL else f"'{source}'"


def _error(wrong: Sequence[SecretFinding]) -> StrongroomError:
    """Return what the whole comes to: names that are missing alone are one thing, all else another."""
    if all(finding.check == "missing" for finding in wrong):
        return SecretNotFound(
            f"{plural(len(wrong), 'secret')} that should be there {'is' if len(wrong) == 1 else 'are'} not.",
            hint="Each is listed. If it was deleted on purpose since, all is well; else restore it.",
        )
    if all(finding.check == live.UNREADABLE for finding in wrong):
        return SourceError(
            f"{plural(len(wrong), 'source')} could not be read, so nothing of it was checked: "
            f"{', '.join(finding.source for finding in wrong[:NAMED])}.",
            hint="No secret is known to be wrong. Put right what each line above says, then repeat.",
        )
    named = ", ".join(
        in_line(f"{finding.secret or finding.source}: {finding.check}") for finding in wrong[:NAMED]
    )
    more = f", and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    return VerificationFailed(
        f"{plural(len(wrong), 'thing')} wrong: {named}{more}.",
        hint="Each line above says what. Restore that secret once more, or put it right at its source.",
    )


# -- validate: whether secrets that live now are there, hold, and are what a backup holds -------


def validate_source(given: CheckSecrets, output: Output) -> Answer:
    origin = given.origin if given.origin.where != ComparedPlace() else None
    selection, names = given.selected.selection(), list(dict.fromkeys(given.secrets))
    with sources.naming_others(given.source, place.find()):
        looked = look_at_source(given.source, output, selection=selection, names=names, origin=origin)
    return answer([looked], [])


# -- one source --------------------------------------------------------------------


def look_at_source(
    name: str,
    output: Output,
    *,
    selection: Selection = Selection(),
    names: Sequence[str] = (),
    origin: options.BackupSource | None = None,
) -> Validated:
    """Look at the secrets of one source, and hold them against a backup."""
    installation = place.find()
    sources.refuse_whole_server(name, installation)
    source = sources.source_of(name, installation)
    entries = [ListedSecret(secret, 0) for secret in names] or selected(source, selection)
    with counting(output, "looking at", len(names) or None) as advance:
        validated = live.values(
            source, entries, now=datetime.now(UTC), demanded=bool(names), progress=advance
        )
    if origin is None:
        _require_some(validated, selection)
        return validated
    query = SourceQuery(selection=Selection(include=tuple(names)) if names else selection, source=name)
    with origins.open_restore_source(origin, query, output, installation) as opened:
        counts, more = _against(source, names, selection, opened)
    return replace(validated, findings=(*validated.findings, *more), compared=counts)


def _against(
    source: Source, names: Sequence[str], selection: Selection, origin: RestoreSource
) -> tuple[LiveComparison, list[SecretFinding]]:
    if not names:
        return live.against(source, selection, origin.select(Selection()), strict=True)
    return live.by_names(source, names, origin.find_or_none)


def _require_some(validated: Validated, selection: Selection) -> None:
    if validated.secrets:
        return
    if selection != Selection():
        raise NothingSelected("The filter matches no secret, so nothing was validated.")
    raise EmptySource(
        f"'{validated.source}' holds no secret, so there is nothing to validate.",
        hint="If it was to be restored, it was not: 'strongroom restore --full-restore'.",
    )


# -- validate --production: all sources that policies name, against their newest backups; nothing is made


def validate_production(given: CheckSecrets, output: Output) -> Answer:
    return answer(*look_at_production(given.origin.opening, given.origin.trust.signer, output))


def look_at_production(
    opening: options.OpeningOptions, signers: Sequence[str], output: Output
) -> tuple[Sequence[Validated], Sequence[PolicyComparison]]:
    """Look at each source once, and at the backup of each policy that a restore would take.

    Raises:
        ConfigError: no policy is configured, so nobody knows what production is.
    """
    settings, installation = load_settings(), place.find()
    if not settings.policies:
        raise ConfigError(
            "No policy is configured, so nobody knows which sources production has.",
            hint="Name one under 'policies', or validate a source: 'strongroom check secrets --source NAME'.",
        )
    trusted = admission.trusted_signers(installation, signers)
    means = _Means(
        settings,
        installation,
        output,
        _EXISTING_RUN_STORE(settings),
        identities.identities_of(opening, output, installation),
        trusted,
        _chooser(settings, installation, trusted),
    )
    looked: list[Validated] = []
    held: list[PolicyComparison] = []
    for name in dict.fromkeys(policy.source for policy in settings.policies.values()):
        if settings.sources[name].kind == "raft":
            looked.append(_as_a_whole(name))
        else:
            validated, against = _source(name, means)
            looked.append(validated)
            held += against
    return looked, held


class _Means(NamedTuple):
    """With what to look."""

    settings: Settings
    here: InstallationPlace
    output: Output
    store: RunStore | None
    opens: Sequence[Opener]
    trusted: frozenset[str]
    chooser: Chooser


def _source(name: str, means: _Means) -> tuple[Validated, list[PolicyComparison]]:
    """Look at one source; one that does not answer must not hide the others."""
    of_it = {
        key: policy_settings
        for key, policy_settings in means.settings.policies.items()
        if policy_settings.source == name
    }
    looked, held = Validated(source=name, secrets=0, findings=()), list[PolicyComparison]()
    try:
        source = sources.source_of(name, means.here)
        with counting(means.output, f"looking at {name}", None) as advance:
            entries = _meant(source, [policy.selection for policy in of_it.values()])
            looked = live.values(source, entries, now=datetime.now(UTC), progress=advance)
        if not looked.secrets:
            looked = replace(looked, findings=(live.nothing_there(name),))
        for key, policy in of_it.items():
            held.append(_held(key, policy, source, means))
    except StrongroomError as error:
        unreadable = live.unreadable(name, error)
        looked = replace(looked, findings=(*looked.findings, unreadable))
    return looked, held


def _meant(source: Source, selections: Sequence[Selection]) -> Iterator[ListedSecret]:
    tagged = any(selection.tags for selection in selections)
    for entry in source.list(with_tags=tagged):
        if any(matches(selection, entry) for selection in selections):
            yield entry


def _held(key: str, policy: PolicySettings, source: Source, means: _Means) -> PolicyComparison:
    try:
        choice = means.chooser.choose(Asked(policy=key, values=False, partial=True))
    except StrongroomError as error:
        known = means.store is not None and bool(means.store.backups(policy=key, limit=1))
        return live.no_backup(key, source.name, error, known=known)
    held = live.hold(key, source, policy.selection, choice, identities=means.opens, trusted=means.trusted)
    return live.passed_over(held, means.chooser.passed)


def _chooser(settings: Settings, installation: InstallationPlace, trusted: frozenset[str]) -> Chooser:
    """Look at the targets that policies name, as a restore does."""
    names = dict.fromkeys(name for policy in settings.policies.values() for name in policy.targets)
    holders = [BackupPlace(name, partial(adapters.target, name, settings, prepare=False)) for name in names]
    return admission.read_record(installation).chooser(holders, trusted=trusted)


def _as_a_whole(name: str) -> Validated:
    text = "it is a whole server, of which only a snapshot tells: nothing in it was checked"
    finding = SecretFinding(secret="", source=name, check="not-checked", text=text, wrong=False)
    return Validated(source=name, secrets=0, findings=(finding,))
