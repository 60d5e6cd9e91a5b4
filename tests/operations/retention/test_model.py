"""The retention rules held to a plain model, on any backups, rules and holds (invariant 5)."""

from __future__ import annotations

from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.model import Depth, Selection
from strongroom.operations.archive.coverage import covers
from strongroom.operations.engine.services import KeepRules
from strongroom.operations.retention.rules import Candidate, judge
from tests.operations.retention import plain_model
from tests.operations.retention.made import DAY, at, candidate

NOW = at("2026-11-27 12:00")
ZONES = ("UTC", "Europe/Berlin", "Pacific/Kiritimati", "America/Los_Angeles")
SELECTIONS = (Selection(), Selection(include=("prod/*",)), Selection(tags={"priority": "critical"}))
few = st.sampled_from((0, 0, 0, 1, 2, 3))

RULES = st.builds(
    KeepRules,
    last=few,
    daily=few,
    weekly=few,
    monthly=few,
    yearly=few,
    minimum_days=st.sampled_from((1, 1, 2, 40)),
    minimum_count=st.sampled_from((1, 1, 2)),
    zone=st.sampled_from(ZONES).map(ZoneInfo),
)
AGES = st.one_of(
    st.sampled_from((-400.0, -300.0, -30 * DAY, NOW, NOW + DAY)),  # of the future, and before 1970
    st.integers(36, 5 * 24).map(lambda hours: hours * 3_600.0),
    st.integers(2, 60).map(lambda days: days * DAY),
    st.sampled_from((364, 365, 366, 728, 730, 1_100)).map(lambda days: days * DAY),
)


@st.composite
def found(draw: st.DrawFn) -> list[Candidate]:
    """Return backups as targets may show them, some of which were sealed anew."""
    made: list[Candidate] = []
    for number in range(draw(st.integers(0, 9))):
        created_at = NOW - draw(AGES)
        for suffix in ("", "-r1", "-r2", "-r10")[: draw(st.sampled_from((1, 1, 1, 2, 4)))]:
            one = candidate(
                created_at,
                backup=f"{number:02}{suffix}",
                policy=draw(st.sampled_from((*["daily"] * 8, "weekly", "gone"))),
                source=draw(st.sampled_from((*["local"] * 8, "vault"))),
                values=draw(st.sampled_from((*[True] * 6, False))),
                selection=draw(st.sampled_from((*[Selection()] * 6, *SELECTIONS))),
                secrets=draw(st.sampled_from((100, 100, 100, 90, 90, 89, 81, 81, 0))),
                whole=draw(st.sampled_from((True, True, True, True, False))),
                verified=draw(st.sampled_from((None, Depth.PRESENT, *[Depth.DIGEST] * 4, Depth.OPENED))),
                stale=draw(st.sampled_from((*[""] * 6, "not read since long"))),
                aside=draw(st.sampled_from((*[""] * 8, "in quarantine"))),
                foreign=draw(st.sampled_from((*[""] * 12, "another's"))),
            )
            made.append(one)
    return made


some = st.sets(st.sampled_from([f"{number:02}" for number in range(9)]), max_size=2)


@settings(max_examples=400)
@given(found(), st.fixed_dictionaries({"daily": RULES, "weekly": RULES}), some, some)
def test_exactly_what_the_plain_model_keeps_is_kept(
    backups: list[Candidate], rules: dict[str, KeepRules], needed: set[str], held: set[str]
) -> None:
    why = {"needed": dict.fromkeys(needed, "a run"), "held": dict.fromkeys(held, "a case")}
    judged = judge(backups, rules, now=NOW, **why)
    kept = {one.backup for one in judged if one.keeps}
    assert kept == plain_model.kept(backups, rules, now=NOW, **why)
    assert judge(backups[::-1], rules, now=NOW, **why) == judged, "in whatever order they are found"
    by_id = {one.backup: one for one in backups}
    for one in judged:
        if not one.keeps:
            old, new = by_id[one.backup], by_id[one.successor]
            assert one.successor in kept, "a successor is kept"
            assert plain_model.is_fresh(new), "and whole, and was read back not long ago"
            assert plain_model.covers(new, old), "and holds what it replaces"
            assert plain_model.age_key(new) > plain_model.age_key(old), "and is newer"
    left = [one for one in backups if one.backup in kept]
    assert all(one.keeps for one in judge(left, rules, now=NOW, **why)), "a second run removes nothing more"


NAMES = ("prod/a", "prod/b", "prod/*", "dev/a", "*", "?rod/a", "*/a", "[dp]*")
PLAIN = ("prod/a", "prod/b", "dev/a", "dev/scratch/a", "*")
TAGS = st.dictionaries(st.sampled_from("ab"), st.sampled_from("xy"), max_size=2)
ANY = st.builds(
    Selection,
    include=st.lists(st.sampled_from(NAMES), max_size=2).map(tuple),
    exclude=st.lists(st.sampled_from(NAMES), max_size=2).map(tuple),
    tags=TAGS,
)


def selects(selection: Selection, name: str, tags: dict[str, str]) -> bool:
    return (
        (not selection.include or any(fnmatchcase(name, one) for one in selection.include))
        and not any(fnmatchcase(name, one) for one in selection.exclude)
        and all(tags.get(key) == value for key, value in selection.tags.items())
    )


@settings(max_examples=300)
@given(ANY, ANY, st.sampled_from(PLAIN), TAGS)
def test_what_is_said_to_cover_a_selection_means_every_secret_of_it(
    wide: Selection, narrow: Selection, name: str, tags: dict[str, str]
) -> None:
    if covers(wide, narrow) and selects(narrow, name, tags):
        assert selects(wide, name, tags)
