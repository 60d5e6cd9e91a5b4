"""validate --production: all sources that policies name, against their newest backups; nothing is made."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from cli import identities, sources, trust
from cli.output import Output
from cli.place import Place
from cli.progress import counting
from cli.settings import recorded, settings
from strongroom.errors import ConfigError, StrongroomError
from strongroom.model import Entry, Selection
from strongroom.operations import validate as validating
from strongroom.operations import validate_policies as policies
from strongroom.operations.validate import Validated
from strongroom.operations.validate_policies import Held
from strongroom.sources import Source
from strongroom.sources.select import matches
from strongroom.wiring import places

if TYPE_CHECKING:
    from strongroom.config import PolicySettings, Settings
    from strongroom.keys import Opener
    from strongroom.state.store import RunStore


def validate(arguments: Namespace, output: Output, here: Place) -> tuple[Sequence[Validated], Sequence[Held]]:
    """Look at each source once, and at each policy's newest whole backup.

    Raises:
        ConfigError: no policy is configured, so nobody knows what production is.
    """
    found = settings()
    if not found.policies:
        raise ConfigError(
            "No policy is configured, so nobody knows which sources production has.",
            hint="Name one under 'policies', or validate a source: 'strongroom validate --source NAME'.",
        )
    means = _Means(
        found,
        here,
        output,
        recorded(found),
        identities.identities_of(arguments, output, here),
        trust.trusted(here, arguments.signer),
    )
    looked: list[Validated] = []
    held: list[Held] = []
    for name in dict.fromkeys(policy.source for policy in found.policies.values()):
        if found.sources[name].kind == "raft":
            looked.append(_as_a_whole(name))
        else:
            one, against = _source(name, means)
            looked.append(one)
            held += against
    return looked, held


class _Means(NamedTuple):
    """With what to look; without a catalog nothing is compared."""

    settings: Settings
    here: Place
    output: Output
    store: RunStore | None
    opens: Sequence[Opener]
    trusted: frozenset[str]


def _source(name: str, means: _Means) -> tuple[Validated, list[Held]]:
    """Look at one source; one that does not answer must not hide the others."""
    of_it = {key: one for key, one in means.settings.policies.items() if one.source == name}
    looked, held = Validated(source=name, secrets=0, findings=()), list[Held]()
    try:
        source = sources.source_of(name, means.here)
        with counting(means.output, f"looking at {name}", None) as advance:
            entries = _meant(source, [policy.selection for policy in of_it.values()])
            looked = validating.values(source, entries, now=datetime.now(UTC), progress=advance)
        if not looked.secrets:
            looked = replace(looked, findings=(policies.nothing_there(name),))
        for key, policy in of_it.items():
            held.append(_held(key, policy, source, means))
    except StrongroomError as error:
        unreadable = policies.unreadable(name, error)
        looked = replace(looked, findings=(*looked.findings, unreadable))
    return looked, held


def _meant(source: Source, selections: Sequence[Selection]) -> Iterator[Entry]:
    tagged = any(selection.tags for selection in selections)
    for entry in source.list(with_tags=tagged):
        if any(matches(selection, entry) for selection in selections):
            yield entry


def _held(key: str, policy: PolicySettings, source: Source, means: _Means) -> Held:
    newest = policies.newest_whole(means.store, key) if means.store is not None else None
    if newest is None:
        return policies.not_on_record(key, source.name)
    entry, good = newest
    return policies.hold(
        key,
        source,
        policy.selection,
        entry,
        {name: partial(places.target, name, means.settings, prepare=False) for name in _known(good, means)},
        identities=means.opens,
        trusted=means.trusted,
    )


def _known(names: Sequence[str], means: _Means) -> list[str]:
    return [name for name in names if name in means.settings.targets]


def _as_a_whole(name: str) -> Validated:
    from strongroom.operations.value_checks import Finding  # noqa: PLC0415

    text = (
        "it is a server as a whole, which a snapshot would have to be taken of; nothing in it was looked at"
    )
    finding = Finding(secret="", source=name, check="not-looked-at", text=text, wrong=False)
    return Validated(source=name, secrets=0, findings=(finding,))
