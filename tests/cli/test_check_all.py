"""check all: every look in one answer, with one verdict and one exit code."""

from __future__ import annotations

from strongroom.cli.commands.checks.everything import LOOKS
from strongroom.cli.table import words_of
from strongroom.errors import by_name
from tests.cli.program import Machine


def test_every_look_is_made() -> None:
    looks = {words.partition(" ")[0] for words in LOOKS} - {""}
    assert looks == set(words_of("check")) - {"all"}


def test_each_look_is_told_once_and_the_first_that_is_not_well_is_the_exit_code(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    done = configured.run("check all")
    rows = [line.split() for line in done.out.splitlines() if line.startswith("check")]
    results = [row[1 + len(words.split())] for words, row in zip(LOOKS, rows, strict=True)]
    assert [row[1 : 1 + len(words.split())] for words, row in zip(LOOKS, rows, strict=True)] == [
        words.split() for words in LOOKS
    ]
    wrong = [result for result in results if result != "well"]
    assert done.named == wrong[0]
    assert f"{len(wrong)} of {len(LOOKS)} looks" in done.out
    assert "CANARY" not in done.out + done.err


def test_what_keeps_a_look_from_looking_is_its_answer(configured: Machine) -> None:
    document = configured.run("check all", "--json").document
    assert set(document["looks"]) == {words.partition(" ")[0] or "installation" for words in LOOKS}
    codes = {look["error"] for look in document["looks"].values() if isinstance(look.get("error"), str)}
    assert all(by_name(code) for code in codes)
