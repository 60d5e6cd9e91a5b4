"""The tutorials, typed from their first line to their last."""

from __future__ import annotations

import re

import pytest

from tests.cli.program import ROOT, Machine
from tests.journeys.house import tutorial, typed


def reader(machine: Machine) -> Machine:
    """Return somebody who begins: nothing is set but the home directory."""
    machine.env.pop("STRONGROOM_STATE_DIR", None)
    return machine


def test_the_first_tutorial_backs_a_secret_up_loses_it_and_restores_it(machine: Machine) -> None:
    lines = tutorial("first-backup.md", but=("Install Strongroom",))
    done = typed(reader(machine), lines, {})
    assert (done.code, done.out.endswith("tok-4711")) == (0, True), done
    for words in ("depth: digest", "every secret was decrypted", "1 secret created"):
        assert words in done.out


def test_the_third_tutorial_loses_a_region_and_the_machine_and_restores_everything(machine: Machine) -> None:
    done = typed(reader(machine), tutorial("lose-a-region.md"), {"../ops": ROOT / "ops"})
    assert done.code == 0, done
    for words in (
        "done: a good backup on every target",
        "exit code ",
        "3 secrets created",
        "Nothing is wrong",
    ):
        assert words in done.out, words
    *_, by_recover = done.out.rpartition("Nothing is wrong")
    assert "SMTP_PASSWORD" in by_recover
    assert "degraded" in done.out


@pytest.mark.long  # the one before it does the same on a machine of its own
def test_the_third_tutorial_comes_after_the_first_on_the_same_machine(machine: Machine) -> None:
    """The first leaves an installation whose targets are called as the folders of the third."""
    first = typed(reader(machine), tutorial("first-backup.md", but=("Install Strongroom",)), {})
    assert first.code == 0, first
    done = typed(machine, tutorial("lose-a-region.md"), {"../ops": ROOT / "ops"})
    assert done.code == 0, done
    assert "3 secrets created" in done.out
    assert "Nothing is wrong" in done.out


def test_the_lines_of_the_readme_lose_a_secret_and_bring_it_back_in_a_folder_that_git_ignores(
    machine: Machine,
) -> None:
    """After ``make demo`` they need nothing but its environment, and leave no key where git would take it."""
    _, _, section = (ROOT / "README.md").read_text().partition("\n## Use it\n")
    entered, *lines = section.partition("```sh\n")[2].partition("```")[0].splitlines(keepends=True)
    enters = re.fullmatch(r"\. \.venv/bin/activate && mkdir -p (build/\S+) && cd \1\n", entered)
    assert enters is not None, entered
    assert "build/" in (ROOT / ".gitignore").read_text().splitlines()
    scripts = machine.path(".venv/bin")
    scripts.mkdir(parents=True)
    (scripts / "activate").touch()
    last = "strongroom get PAYMENTS_API_KEY --show-value\n"
    done = typed(reader(machine), "".join([entered, *lines, last]), {})
    assert (done.code, done.out.endswith("tok-4711")) == (0, True), done
    assert "1 secret created" in done.out
    assert {file.name for file in machine.home.iterdir()} & {"recovery.key", "weekly.strongroom"} == set()
