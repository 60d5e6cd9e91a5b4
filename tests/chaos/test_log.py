"""What a series prints can be read afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.log import begin


def test_a_series_log_holds_what_it_printed_and_nothing_of_the_series_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begin("storms.log", folder=tmp_path)("of the series before")
    say = begin("storms.log", folder=tmp_path)
    say("seed 1 held")
    say("seed 2 held")
    assert (tmp_path / "storms.log").read_text() == "seed 1 held\nseed 2 held\n"
    assert capsys.readouterr().out.endswith("seed 1 held\nseed 2 held\n")
