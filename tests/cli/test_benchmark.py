"""bench, as somebody types it."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.errors import UsageError
from tests.cli.program import REGIONS, Machine


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_the_procedures_line_measures_both_and_leaves_nothing(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    before = files(configured.path("regions"))
    catalog = configured.ok("backups", "list", "--json").document
    done = configured.ok(
        "bench", "--secret-count", "1000", "--measure-encryption-time", "--measure-upload-time"
    )

    assert "1,000 made-up secrets" in done.out
    assert "seal, reopen, compare" in done.out
    assert all(f"{name}: put, read back" in done.out for name in REGIONS)
    assert f"nothing is left: {', '.join(REGIONS)}" in done.out
    assert files(configured.path("regions")) == before
    assert configured.ok("backups", "list", "--json").document == catalog
    assert configured.staged() == []


def test_neither_measures_both_and_a_target_can_be_chosen(configured: Machine) -> None:
    document = configured.ok("bench", "--target", "dublin", "--json").document
    assert (document["secrets"], [one["target"] for one in document["targets"]]) == (1000, ["dublin"])
    assert document["sealing"]["secrets_per_second"] > 0
    assert document["targets"][0]["megabytes_per_second"] > 0
    assert not configured.path("regions").joinpath("toronto").exists()


@pytest.mark.parametrize(
    ("words", "sealing", "targets"),
    [(("--measure-encryption-time",), True, 0), (("--measure-upload-time",), False, 3)],
    ids=["sealing", "uploading"],
)
def test_each_can_be_measured_alone(
    configured: Machine, words: tuple[str, ...], sealing: bool, targets: int
) -> None:
    document = configured.ok("bench", "--secret-count", "50", "--json", *words).document
    assert (document["sealing"] is not None, len(document["targets"])) == (sealing, targets)


def test_a_target_that_is_away_fails_the_command_and_the_others_are_measured(configured: Machine) -> None:
    configured.ok("bench", "--secret-count", "10")
    (configured.path("regions") / "dublin").rename(configured.path("unmounted"))
    (configured.path("regions") / "dublin").write_text("no directory")
    done = configured.run("bench", "--secret-count", "10", "--json")

    failed = {one["target"]: one["error"] for one in done.document["targets"]}
    assert done.code == failed["dublin"]["exit_code"] != 0
    assert (failed["frankfurt"], failed["toronto"]) == (None, None)
    assert files(configured.path("regions") / "toronto") == {".strongroom-target"}


def test_a_target_that_locks_is_refused_before_anything_is_put(configured: Machine) -> None:
    with configured.path("strongroom.toml").open("a") as file:
        file.write(
            '[targets.vaulted]\nkind = "s3"\nbucket = "backups"\nregion = "eu-central-1"\n'
            'lock = "compliance"\nlock_days = 1\n'
        )
    done = configured.run("bench", AWS_EC2_METADATA_DISABLED="true")
    said = " ".join(done.err.split())
    assert done.failed_with(UsageError)
    assert "What is put on 'vaulted' is locked there" in said
    assert "--target frankfurt --target dublin --target toronto" in said
    assert not (configured.path("regions") / "toronto" / "probes").exists()
    assert configured.ok("bench", "--measure-encryption-time", "--secret-count", "10").code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("--secret-count", "0"),
        ("--secret-count", "-5"),
        ("--secret-count", "many"),
        ("--target", "nowhere"),
        ("--measure-encryption-time", "--target", "dublin"),
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused(configured: Machine, words: tuple[str, ...]) -> None:
    assert configured.run("bench", *words).failed_with(UsageError)
