"""The machine is gone after 35 nights: everything comes back from either target, by what is printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from strongroom.container.errors import UntrustedSigner
from strongroom.operations.errors import RunDegraded
from tests.cli.program import ROOT, Machine
from tests.journeys.house import (
    CRITICAL,
    MONTHLY,
    NEWEST_WEEKLY,
    REGIONS,
    House,
    in_page,
    typed,
    values,
    words_of,
)


def test_every_night_made_what_was_due(house: House) -> None:
    made = [policy for _, policy, state in house.runs if state == "done"]
    assert {policy: made.count(policy) for policy in sorted(set(made))} == {
        "daily-metadata": 35,
        "monthly-full": 2,
        "weekly-critical": 6,
    }
    assert len(made) == len(house.runs)


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("region", REGIONS)
def test_the_runbooks_lines_bring_everything_back(house: House, other: Machine, region: str) -> None:
    places: dict[str, str | Path] = {"/mnt/region-a": other.path(region), "sr1:…": house.signer}
    everything, newer, chosen = in_page("restore.md", "The machine is gone")
    first = typed(other, everything, places)
    assert (first.code, values(other)) == (0, MONTHLY)
    told = words_of(first)
    assert f"from backup {house.newest('monthly-full')} of policy 'monthly-full', made 2025-02-01" in told
    assert f"skipped: {house.newest('daily-metadata')} of policy 'daily-metadata'" in told
    assert f"{house.newest('weekly-critical')} of policy 'weekly-critical'" in told
    assert "4 secrets created" in told

    again = typed(other, everything, places)
    assert (again.code, "4 secrets already as in the backup" in words_of(again)) == (0, True)
    assert typed(other, chosen, places).code == 0

    [deleted] = in_page("restore.md", "One secret")
    single = deleted.replace("--backup-file weekly.strongroom", f"--from-target {region}")
    single = single.replace("NAME", CRITICAL).rstrip() + f" --signer {house.signer}"
    newest = typed(other, single, {})
    assert (newest.code, values(other)[CRITICAL]) == (0, NEWEST_WEEKLY)
    assert f"from backup {house.newest('weekly-critical')}" in words_of(newest)
    assert typed(other, single, {}).code == 0

    older = typed(other, everything, places)
    assert older.failed_with(RunDegraded)
    assert f"left as it is: {CRITICAL} " in words_of(older)
    assert values(other)[CRITICAL] == NEWEST_WEEKLY

    [undo] = [line for line in newest.out.splitlines() if line.startswith("    strongroom restore")]
    assert typed(other, undo, {}).code == 0
    assert values(other) == MONTHLY
    assert "afterwards the same command with --policy weekly-critical --partial --overwrite" in told
    assert typed(other, newer, places).code == 0
    assert values(other) == MONTHLY | {CRITICAL: NEWEST_WEEKLY}
    assert "CANARY" not in "".join(each.out + each.err for each in (first, again, newest, older))


@pytest.mark.parametrize("region", REGIONS)
def test_a_kit_that_was_printed_weeks_ago_brings_back_the_newest(
    house: House, other: Machine, region: str
) -> None:
    """Its lines named the backup that was the newest on the day of printing."""
    weekly = {CRITICAL: NEWEST_WEEKLY}
    for policy, brings in (("weekly-critical", weekly), ("monthly-full", MONTHLY | weekly)):
        [lines] = [lines for title, lines in house.printed.items() if f"policy '{policy}'" in title]
        done = typed(other, "\n".join(lines), paper(house, other, region))
        newest = house.newest(policy)
        assert f"from backup {newest} of policy '{policy}'" in words_of(done), done
        assert f"backup {newest} of policy '{policy}', made" in done.err.rpartition("compared")[2]
        assert values(other) == brings
        # the newer value of the critical secret is no mistake: it is told, and left
        assert done.code == (0 if policy == "weekly-critical" else RunDegraded.exit_code)


def paper(house: House, other: Machine, region: str) -> dict[str, str | Path]:
    """Return what a person puts in for the places on paper."""
    return {
        str(house.regions / "region-a"): other.path(region),
        "/path/to/recovery ": f"{other.path('recovery.key')} ",
        "/path/to/ops": ROOT / "ops",
    }


def test_the_fingerprint_on_paper_is_believed_and_another_is_not(house: House, other: Machine) -> None:
    everything, *_ = in_page("restore.md", "The machine is gone")
    stranger = re.sub("[0-9a-f]{4}$", "0000", house.signer)
    # a copy of a target in this folder, named as a target that there is by default: the copy is meant
    done = typed(other, everything, {"/mnt/region-a": "region-a", "sr1:…": stranger})
    assert done.failed_with(UntrustedSigner)
    assert "in your recovery kit" in words_of(done)
    assert other.run("list").out.startswith("The store is clean")
