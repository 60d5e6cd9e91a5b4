"""drill local, as somebody types it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom import __version__
from strongroom.container.errors import UntrustedSigner
from strongroom.errors import UsageError
from strongroom.operations.errors import RecoveryTooSlow
from strongroom.operations.evidence.access_log import FILE
from strongroom.operations.restore.scratch import scratch
from strongroom.sources.errors import SecretNotFound
from strongroom.system.errors import WouldOverwrite
from tests.cli.program import PASSPHRASE, ROOT, Done, Machine
from tests.patience import PATIENCE

NAMES = ("JWT_SECRET_KEY", "DATABASE_PASSWORD", "REDIS_PASSWORD")
HOURS = {"full": 7200.0, "category": 1800.0, "single": 900.0}


def rehearse(machine: Machine, *words: str | Path) -> Done:
    return machine.run("drill", "local", *words, STRONGROOM_PASSPHRASE=PASSPHRASE)


def good(machine: Machine, *words: str | Path) -> Done:
    done = rehearse(machine, *words)
    assert done.code == 0, done
    return done


def tree(folder: Path) -> dict[str, bytes]:
    """Return all there is, but for the note of who opened a backup: a rehearsal opens one, too."""
    found = (path for path in folder.rglob("*") if path.name != FILE)
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in found}


def report_of(machine: Machine, name: str) -> dict[str, object]:
    path = machine.path(name)
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert "CANARY" not in text
    assert [name for name in NAMES if name in text] == []
    found: dict[str, object] = json.loads(text)
    return found


def scratches(machine: Machine) -> list[Path]:
    return list((machine.state / "rehearsals").iterdir())


def test_the_procedures_line_writes_a_report_and_nothing_else(sealed: Machine) -> None:
    sealed.path("test_backup.json").write_bytes(sealed.path("full.sr").read_bytes())
    before = tree(sealed.home)
    line = "--backup-file test_backup.json --dry-run --report test_recovery_report.json"
    done = good(sealed, *line.split())

    assert tree(sealed.home).keys() - before.keys() == {"test_recovery_report.json"}
    report = report_of(sealed, "test_recovery_report.json")
    sealed.path("test_recovery_report.json").unlink()
    assert tree(sealed.home) == before
    assert "3 secrets open, and are whole. Nothing was written." in done.out
    assert (report["outcome"], report["depth"], report["problems"]) == ("passed", "opened", [])
    assert report["would"] == {"to": "local", "created": 0, "changed": 0, "left": 3}
    assert report["strongroom"] == __version__


def test_on_a_bare_machine_a_dry_run_makes_not_even_a_store(sealed: Machine, other: Machine) -> None:
    signer = sealed.ok("backups", "show", "full.sr", "--json").document["signer"]
    file = sealed.path("full.sr")
    document = good(other, "--backup-file", file, "--signer", signer, "--dry-run", "--json").document

    assert document["would"] == {"to": "local", "created": 3, "changed": 0, "left": 0}
    assert list(other.home.iterdir()) == []
    assert good(other, "--backup-file", file, "--signer", signer).code == 0
    assert scratches(other) == []
    assert sorted(path.name for path in other.state.iterdir()) == [FILE, "rehearsals"]


@pytest.mark.parametrize(
    ("words", "scope", "secrets"),
    [
        ((), "full", 3),
        (("--filter-tag", "category=database"), "category", 2),
        (("--secret-name", "JWT_SECRET_KEY"), "single", 1),
    ],
    ids=["full", "category", "single"],
)
def test_each_scope_comes_back_compared_and_is_judged_by_its_own_objective(
    sealed: Machine, words: tuple[str, ...], scope: str, secrets: int
) -> None:
    good(sealed, "--backup-file", "full.sr", "--report", f"{scope}.json", *words)

    report = report_of(sealed, f"{scope}.json")
    counts, spent = report["counts"], report["seconds"]
    assert report["scope"]["kind"] == scope  # type: ignore[index]
    assert (report["depth"], report["outcome"]) == ("compared", "passed")
    assert (counts["secrets"], counts["manifest_secrets"]) == (secrets, 3)  # type: ignore[index]
    assert list(spent) == ["open", "restore", "compare", "teardown", "total"]  # type: ignore[call-overload]
    assert (report["objective_seconds"], report["objective_of"]) == (HOURS[scope], scope)
    assert report["source"] == "local"
    assert str(report["began_at"]).endswith("Z")
    assert scratches(sealed) == []


def test_a_missed_objective_is_told_apart_from_a_failure(sealed: Machine) -> None:
    done = rehearse(sealed, "--backup-file", "full.sr", "--objective", "0.001s", "--report", "late.json")

    report = report_of(sealed, "late.json")
    assert done.failed_with(RecoveryTooSlow)
    assert "But it was too slow" in " ".join(done.out.split())
    assert "the objective is 0.001 s" in " ".join(done.err.split())
    assert (report["outcome"], report["depth"]) == ("late", "compared")
    assert [problem["code"] for problem in report["problems"]] == ["RecoveryTooSlow"]  # type: ignore[attr-defined]
    assert report["objective_of"] == "the command line"


@pytest.mark.parametrize("objective", ["0s", "15", "-1m", "nan", "1e9s", "2 hours", "1y", ""])
def test_an_objective_that_is_no_time_is_refused(sealed: Machine, objective: str) -> None:
    done = rehearse(sealed, "--backup-file", "full.sr", f"--objective={objective}")
    assert done.failed_with(UsageError)
    assert "such as 90s, 15m, 2h or 7d" in " ".join(done.err.split())


def test_a_damaged_backup_fails_and_the_report_says_of_what_without_a_name(stocked: Machine) -> None:
    file = stocked.seal()
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    done = rehearse(stocked, "--backup-file", file, "--report", "bad.json")

    report = report_of(stocked, "bad.json")
    [problem] = report["problems"]  # type: ignore[misc]
    assert (done.code, report["outcome"], report["depth"]) == (problem["exit_code"], "failed", None)
    assert done.code in range(10, 20)


def test_a_wrong_name_is_said_to_the_person_and_not_in_the_report(sealed: Machine) -> None:
    words = ("--secret-name", "CANARY_NOWHERE", "--report", "none.json")
    done = rehearse(sealed, "--backup-file", "full.sr", *words)

    assert done.failed_with(SecretNotFound)
    assert "CANARY_NOWHERE" in done.err
    assert report_of(sealed, "none.json")["outcome"] == "failed"
    assert scratches(sealed) == []


def test_a_report_replaces_nothing_unless_told_and_never_the_backup(sealed: Machine) -> None:
    sealed.path("kept.json").write_text("kept")
    before = tree(sealed.home)
    words = ("--backup-file", "full.sr", "--dry-run", "--report")
    assert rehearse(sealed, *words, "kept.json").failed_with(WouldOverwrite)
    assert rehearse(sealed, *words, "full.sr", "--force").failed_with(UsageError)
    assert rehearse(sealed, *words, "nowhere/report.json").failed_with(UsageError)
    assert tree(sealed.home) == before
    good(sealed, *words, "kept.json", "--force")
    assert report_of(sealed, "kept.json")["outcome"] == "passed"


@pytest.mark.parametrize(
    "words",
    [
        ("--secret-name", "A", "--filter-tag", "a=b"),
        ("--dry-run", "--scratch", "there"),
        ("--force",),
        ("--to", "nowhere"),
    ],
    ids=" ".join,
)
def test_what_contradicts_itself_or_would_be_ignored_is_refused(
    sealed: Machine, words: tuple[str, ...]
) -> None:
    assert rehearse(sealed, "--backup-file", "full.sr", *words).failed_with(UsageError)


def test_a_backup_on_a_target_is_rehearsed_and_a_dry_run_touches_nothing(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    configured.set("REDIS_PASSWORD", "CANARY-NEWER")
    configured.ok("secrets", "delete", "JWT_SECRET_KEY", "--force")
    words = ("--from-target", "dublin", "--identity", "recovery.key", "--json")
    assert good(configured, *words).document["counts"]["secrets"] == 3
    before = tree(configured.home)
    document = good(configured, *words, "--dry-run").document

    assert document["would"] == {"to": "local", "created": 1, "changed": 1, "left": 1}
    assert tree(configured.home) == before
    assert "CANARY" not in json.dumps(document)


def test_an_untrusted_backup_is_not_rehearsed(sealed: Machine, other: Machine) -> None:
    done = rehearse(other, "--backup-file", sealed.path("full.sr"), "--report", "doubt.json")
    assert done.failed_with(UntrustedSigner)
    assert report_of(other, "doubt.json")["problems"][0]["code"] == "UntrustedSigner"  # type: ignore[index]


STOPPED = """
import os, sys
from strongroom.cli.main import main
from strongroom.operations.drills.work import AttendedDrill

def stop(*_):
    os.kill(os.getpid(), int(sys.argv[1]))

AttendedDrill._compare = stop
sys.exit(main(sys.argv[2:]))
"""


def stopped(machine: Machine, by: signal.Signals, *words: str) -> int:
    """Rehearse in a process that gets a signal between writing and comparing."""
    return subprocess.run(
        [sys.executable, "-c", STOPPED, str(int(by)), "drill", "local", "--backup-file", "full.sr", *words],
        cwd=machine.home,
        env=machine.env | {"PYTHONPATH": str(ROOT), "STRONGROOM_PASSPHRASE": PASSPHRASE},
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    ).returncode


@pytest.mark.parametrize(("by", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_who_is_asked_to_end_takes_the_scratch_store_away_and_reports(
    sealed: Machine, by: signal.Signals, code: int
) -> None:
    assert stopped(sealed, by, "--report", f"{code}.json") == code

    report = report_of(sealed, f"{code}.json")
    assert (report["outcome"], report["depth"]) == ("interrupted", None)
    assert scratches(sealed) == []


def test_a_killed_one_leaves_its_store_until_the_next_while_a_living_ones_stays(
    sealed: Machine, tmp_path: Path
) -> None:
    folder = tmp_path / "there"
    with scratch(folder) as living:
        assert stopped(sealed, signal.SIGKILL, "--scratch", str(folder)) == -signal.SIGKILL
        [left] = set(folder.iterdir()) - {living}
        assert (left / "keys" / "store.key").exists()
        assert not [path for path in left.rglob("*") if path.is_file() and b"CANARY" in path.read_bytes()]
        good(sealed, "--backup-file", "full.sr", "--scratch", folder)
        assert list(folder.iterdir()) == [living]


def test_the_pace_of_where_a_recovery_would_go_counts(stocked: Machine) -> None:
    """It takes a quarter of an hour by that pace, and on no machine here ten minutes."""
    stocked.path("more.env").write_text("".join(f"MORE_{number}=CANARY-{number}\n" for number in range(300)))
    stocked.ok("secrets", "import", "more.env")
    stocked.seal()
    stocked.path("strongroom.toml").write_text(
        '[sources.aws]\nkind = "aws"\nregion = "eu-central-1"\nrequests_per_second = 1\n'
    )
    words = ("--backup-file", "full.sr", "--to", "aws", "--objective", "10m", "--report", "aws.json")
    done = rehearse(stocked, *words)

    report = report_of(stocked, "aws.json")
    assert done.failed_with(RecoveryTooSlow)
    assert report["outcome"] == "late"
    assert report["depth"] == "compared"
    assert report["least_seconds"] > report["objective_seconds"] == 600  # type: ignore[operator]
    assert "the source itself takes" in " ".join(done.err.split())
