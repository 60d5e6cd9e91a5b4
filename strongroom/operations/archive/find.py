"""Which of many backups hold a secret, and in which version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.name_index import Older
from strongroom.errors import UsageError
from strongroom.model import Selection, VersionState
from strongroom.operations.archive.coverage import Asked
from strongroom.operations.find.facts import SearchableBackup, SecretFacts, facts_of

MOST_NAMES = 100_000
"""Secrets that one search finds at most: memory is bounded by them, and nobody reads more."""


class SecretQuery(Struct, frozen=True, kw_only=True):
    """What is looked for: a name or a pattern, and tags."""

    pattern: str = "*"
    tags: Mapping[str, str] = {}

    @property
    def name(self) -> str:
        """The one name that is meant; empty for a pattern."""
        return "" if any(character in self.pattern for character in "*?[") else self.pattern

    def asked(self, *, policy: str, until: float | None) -> Asked:
        """Return which backups may hold it."""
        return Asked(values=False, name=self.name, policy=policy, until=until, partial=not self.name)

    def means(self, facts: SecretFacts) -> bool:
        named = facts.name == self.pattern or fnmatchcase(facts.name, self.pattern)
        return named and all(facts.tags.get(key) == value for key, value in self.tags.items())

    def within(self, backup: SearchableBackup) -> Iterator[SecretFacts]:
        """Yield what a backup has of it. One name costs a few ranged reads, a pattern all the names."""
        if self.name:
            found = backup.digested_row(self.name)
            described = iter([] if found is None else [found])
        else:
            described = backup.digested_rows()
        yield from (
            facts for facts in (facts_of(*described_row) for described_row in described) if self.means(facts)
        )


class VersionHolding(Struct, frozen=True, kw_only=True):
    """One version of a secret, and the backups of which it is the newest one, the newest backup first.
    ``older`` are the versions before it that these hold too.

    Where one version is asked for it is that, whatever is newer in the backups.
    """

    version: int
    state: VersionState
    written_at: str | None
    has_value: bool
    backups: tuple[str, ...]
    older: tuple[Older, ...] = ()

    def at(self, version: int) -> VersionHolding | None:
        """Return what these backups have of one version."""
        if version == self.version:
            return replace(self, older=())
        run = next((run for run in self.older if run.first <= version <= run.last), None)
        if run is None:
            return None
        return VersionHolding(
            version=version,
            state=run.state,
            written_at=run.written_at(version),
            has_value=run.has_value,
            backups=self.backups,
        )


class FoundSecret(Struct, frozen=True, kw_only=True):
    """A secret of one source, as the newest backup has it, and its versions, the newest backup's first."""

    name: str
    source: str
    tags: Mapping[str, str]
    expires_at: str | None
    versions: tuple[VersionHolding, ...]

    @property
    def as_selection(self) -> Selection:
        """What means this secret."""
        return Selection(include=(self.name,), tags=dict(self.tags))

    def at(self, version: int) -> FoundSecret | None:
        """Return where one version of it is: a line for each state in which it is there."""
        alike: dict[tuple[VersionState, bool], VersionHolding] = {}
        for version_holding in filter(None, (holding.at(version) for holding in self.versions)):
            same = alike.get((version_holding.state, version_holding.has_value))
            alike[version_holding.state, version_holding.has_value] = (
                version_holding if same is None else _together(same, version_holding)
            )
        return replace(self, versions=tuple(alike.values())) if alike else None


def _together(holding: VersionHolding, other: VersionHolding) -> VersionHolding:
    backups = tuple(sorted({*holding.backups, *other.backups}, reverse=True))
    return replace(holding, written_at=holding.written_at or other.written_at, backups=backups)


def too_many() -> UsageError:
    """Return what is said where more secrets are meant than anybody reads."""
    return UsageError(
        f"More than {MOST_NAMES:,} secrets are meant.", hint="Name fewer of them, such as 'prod/db/*'."
    )


class Findings:
    """Gathers what is found in backups, in whatever order: the time of each is what its id begins with."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str], tuple[str, SecretFacts]] = {}
        self._versions: dict[tuple[str, str], dict[_Version, list[str]]] = {}

    def add(self, facts: SecretFacts, *backups: str, source: str) -> None:
        """Note that backups hold a secret.

        Raises:
            UsageError: too many secrets are found.
        """
        key = (facts.name, source)
        if key not in self._newest and len(self._newest) == MOST_NAMES:
            raise too_many()
        newest = max(backups)
        if key not in self._newest or self._newest[key][0] < newest:
            self._newest[key] = (newest, facts)
        version = (facts.version, facts.state, facts.written_at, facts.digest, facts.older)
        self._versions.setdefault(key, {}).setdefault(version, []).extend(backups)

    def found(self) -> Iterator[FoundSecret]:
        """Yield every secret that was found, by its name."""
        for key in sorted(self._newest):
            _, facts = self._newest[key]
            held = (
                (version, sorted(backups, reverse=True)) for version, backups in self._versions[key].items()
            )
            yield FoundSecret(
                name=facts.name,
                source=key[1],
                tags=facts.tags,
                expires_at=facts.expires_at,
                versions=tuple(
                    _holding(*holding) for holding in sorted(held, key=lambda pair: pair[1][0], reverse=True)
                ),
            )


_Version = tuple[int, VersionState, str | None, bytes, tuple[Older, ...]]


def _holding(version: _Version, backups: list[str]) -> VersionHolding:
    number, state, written_at, digest, older = version
    return VersionHolding(
        version=number,
        state=state,
        written_at=written_at,
        has_value=bool(digest),
        backups=tuple(backups),
        older=older,
    )
