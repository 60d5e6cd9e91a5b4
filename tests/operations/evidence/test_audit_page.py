"""The audit report as a page and as a table: each figure with what it rests on, and nothing that runs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from xml.etree import ElementTree as ET

import pytest
from msgspec.structs import replace

from strongroom.operations.evidence.audit import Audit
from strongroom.operations.evidence.audit_page import sheet_of
from tests.operations.evidence.made_up_year import DAYS, made_up_year

HOSTILE = '=HYPERLINK("http://x")</title></svg><script>alert(1)</script>'


@pytest.fixture(scope="module")
def year() -> Audit:
    return made_up_year()


def charts(report: Audit) -> Iterator[ET.Element]:
    for svg in re.findall(r"<svg.*?</svg>", sheet_of(report).html().decode(), re.DOTALL):
        yield ET.fromstring(svg.replace(' xmlns="http://www.w3.org/2000/svg"', ""))


def titles(chart: ET.Element) -> list[str]:
    return [one.text or "" for one in chart.iter("title")]


def test_each_day_of_the_calendar_names_its_runs(year: Audit) -> None:
    backups, verifications, *_ = charts(year)
    assert len(titles(backups)) == DAYS
    assert "2026-03-15: 1 done (073-backup)" in titles(backups)
    assert len(titles(verifications)) == len([one for one in year.operations if one.kind.startswith("verif")])
    failed = [one for one in year.operations if one.kind == "backup" and one.state == "failed"]
    assert len(backups.findall(".//path[@class='sign']")) == len(failed) > 0


def test_sizes_drills_keys_and_incidents_are_drawn_with_what_they_rest_on(year: Audit) -> None:
    *_, full, weekly, drills, keys, incidents = charts(year)
    assert len(titles(full)) + len(titles(weekly)) == len(year.backups)
    assert titles(drills)[4] == "run drill-04: failed: nothing came back; objective 15.0 min"
    assert any("missed" in title for title in titles(drills))
    assert len(drills.findall(".//path[@class='limit']")) == len(year.drills)
    assert titles(keys) == [
        "recovery: 385 days, run of 2025",
        "hsm-frankfurt: 185 days, run 180-backup",
        "signer of control: 325 days, certificate of sr1:00",
    ]
    states = [one.find("rect") for one in incidents.iter("g")]
    assert [one.get("class") for one in states if one is not None] == ["good", "bad", "warn"]


def test_every_row_of_the_table_says_what_it_rests_on(year: Audit) -> None:
    rows = list(csv.DictReader(io.StringIO(sheet_of(year).csv().decode())))
    assert all(row["evidence"] for row in rows)
    count = len(year.operations) + 3 * len(year.backups) + len(year.drills) + len(year.keys)
    assert len(rows) == count + len(year.incidents) + len(year.happenings)


def test_the_words_of_an_error_run_nothing_in_a_browser_or_a_spreadsheet() -> None:
    report = made_up_year(error=HOSTILE)
    page, table = sheet_of(report).html().decode(), sheet_of(report).csv().decode()
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    said = [row["said"] for row in csv.DictReader(io.StringIO(table)) if "HYPERLINK" in row["said"]]
    assert {one[:2] for one in said} == {"'="}


def test_a_page_asks_for_nothing_from_elsewhere(year: Audit) -> None:
    page = sheet_of(year).html().decode().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"(?:src|href)=|url\(|@import|https?:", page)


def test_a_broken_ledger_stands_on_top_and_empty_spans_are_said_to_be_empty(year: Audit) -> None:
    broken = sheet_of(replace(year, broken=7)).html().decode()
    assert "The ledger is not what was appended" in broken
    assert "The ledger is whole" not in broken
    nothing = replace(year, operations=(), backups=(), drills=(), keys=(), incidents=(), happenings=())
    page = sheet_of(nothing).html().decode()
    assert "There were no backups in this span" in page
    assert "<svg" not in page


def test_the_table_of_a_page_is_bounded_and_says_how_many_more_there_are(year: Audit) -> None:
    worse = tuple(replace(one, state="failed") for one in year.operations)
    assert f"And {len(worse) - 100:,} runs more" in sheet_of(replace(year, operations=worse)).html().decode()
