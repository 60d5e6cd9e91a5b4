"""The pages under docs/reference that are made from the code are what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts import make_reference
from strongroom.alert_kinds import KINDS


@pytest.mark.parametrize("page", make_reference.pages(), ids=lambda page: page.name)
def test_a_page_is_what_the_code_says(page: Path) -> None:
    written = page.read_text(encoding="utf-8")
    assert written == make_reference.pages()[page], "run: python scripts/make_reference.py"


def test_every_alert_has_a_row_in_the_order_of_badness() -> None:
    rows = re.findall(r"^- `([a-z.-]+)` \(", make_reference.alerts_markdown(), re.MULTILINE)
    assert rows == list(KINDS)


def test_every_kind_of_event_in_the_code_is_explained_and_no_other() -> None:
    assert make_reference.kinds_in_code() | set(make_reference.MADE_UP) == set(make_reference.EVENTS)
