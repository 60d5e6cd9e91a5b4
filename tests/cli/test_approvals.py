"""Commands that other people have to approve: they say who, and do it once those have signed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from strongroom.container.errors import MissingPiece
from strongroom.errors import ConfigError, UsageError
from strongroom.keys.errors import SignatureRefused
from strongroom.operations.errors import ApprovalNeeded, BreakGlass, NotApproved
from strongroom.system.errors import WouldOverwrite
from tests.cli.conftest import configure, stock
from tests.cli.furnished import Furnish
from tests.cli.program import Done, Machine
from tests.ssh_people import Person, allow, person

NAMES = ("alice@example.org", "bob@example.org", "carol@example.org")
RULES = """
[approvals]
allowed_signers = "allowed_signers"
[approvals.rules.careful]
actions = ["restore", "undo", "export", "release", "signers", "shred"]
k = 2
people = ["alice@example.org", "bob@example.org", "carol@example.org"]
[approvals.break_glass]
k = 1
people = ["carol@example.org"]
"""


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Person]:
    folder = tmp_path_factory.mktemp("people")
    return {name.partition("@")[0]: person(folder, name) for name in NAMES}


def back_up(machine: Machine) -> None:
    machine.ok("backup", "--policy", "full", "--force")


@pytest.fixture
def careful(machine: Machine, furnish: Furnish, people: dict[str, Person]) -> Machine:
    """A machine with backups, where two people have to approve whatever may be asked for."""
    furnish(machine, stock, configure, back_up)
    allow(machine.path("allowed_signers"), *people.values())
    file = machine.path("strongroom.toml")
    file.write_text(file.read_text() + RULES)
    return machine


def needed(done: Done) -> str:
    """Return what is to be approved, as the command says it."""
    assert done.failed_with(ApprovalNeeded), done
    told = " ".join(done.err.split())  # a long name breaks the line
    found = re.search(r"'strongroom approvals approve (\S+)', typed by each of them", told)
    assert found, done.err
    return found[1]


def approve(machine: Machine, name: str, *whom: Person) -> None:
    for one in whom:
        machine.ok("approvals", "approve", name, "--key", one.file, "--force")


EXPORT = ("backup", "--include-values", "out.sr", "--recipient", "recovery", "--force")
PLAIN = ("--identity", "recovery.key")


def test_an_export_is_made_once_two_others_approved_it_and_asks_again_the_next_time(
    careful: Machine, people: dict[str, Person]
) -> None:
    first = careful.run(*EXPORT)
    name = needed(first)
    assert "2 of alice@example.org, bob@example.org, carol@example.org" in " ".join(first.err.split())
    approve(careful, name, people["alice"])
    again = careful.run(*EXPORT)
    assert needed(again) == name
    assert "so far alice@example.org" in again.err
    assert not careful.path("out.sr").exists()
    approve(careful, name, people["bob"])
    careful.ok(*EXPORT)
    assert careful.path("out.sr").exists()
    needed(careful.run(*EXPORT))
    listed = careful.ok("approvals", "list", "--json").document["approvals"]
    assert [one["state"] for one in listed] == ["open", "used"]
    assert listed[1]["signed_by"] == ["alice@example.org", "bob@example.org"]
    shown = careful.ok("approvals", "show", name).out
    assert "for the holder of the private key `recovery`" in shown


def test_what_was_approved_to_leave_one_backup_is_no_approval_for_another_or_for_other_names(
    careful: Machine, people: dict[str, Person]
) -> None:
    older = careful.ok("backups", "list", "--json").document["backups"][0]["backup"]
    careful.ok("backup", "--policy", "full", "--force")
    words = (
        "restore",
        "--from-target",
        "frankfurt",
        "--to-file",
        "x.sr",
        "--recipient",
        "recovery",
        "--force",
    )
    part = (*words, "--include", "JWT*", "--backup", older)
    name = needed(careful.run(*part, *PLAIN))
    approve(careful, name, people["alice"], people["bob"])
    for other in (
        (*words, "--include", "JWT*"),
        (*words, "--full-restore", "--backup", older),
        (*part, "--relocate", "JWT=HIDDEN"),
    ):
        assert needed(careful.run(*other, *PLAIN)) != name
    assert not careful.path("x.sr").exists()
    shown = careful.ok("approvals", "show", name).out
    assert f"a part, by 1 --include of backup {older}" in shown
    assert "JWT" not in shown
    careful.ok(*part, *PLAIN)


def test_everything_that_a_rule_names_asks_before_it_is_done(careful: Machine) -> None:
    careful.ok("backups", "hold", "add", "--policy", "full", "--reason", "audit")
    commands: dict[str, tuple[str, ...]] = {
        "backup into a file": ("backup", "b.sr", "--include-values", "--recipient", "recovery", "--force"),
        "backup sealed to somebody": (
            *("restore", "--full-restore", "--from-target", "frankfurt", "--to-file", "x.sr"),
            *("--recipient", "recovery", "--force", *PLAIN),
        ),
        "lift a hold": ("backups", "hold", "release", "--policy", "full", "--reason", "over"),
        "have a hold end": (
            "backups",
            "hold",
            "add",
            "--policy",
            "full",
            "--reason",
            "x",
            "--until",
            "2999-01-01",
        ),
        "rotate a signer": ("keys", "signers", "rotate", "seal"),
        "sign again": ("keys", "signers", "re-sign", "--force"),
    }
    for name, words in commands.items():
        done = careful.run(*words)
        assert done.failed_with(ApprovalNeeded), (name, done)
    assert not careful.path("b.sr").exists()
    assert not careful.path("x.sr").exists()
    assert careful.ok("backups", "hold", "list", "--json").document["holds"]
    # What is held for longer than before asks nobody.
    tagged = ("backups", "hold", "add", "--tag", "team=a", "--reason", "audit", "--until")
    careful.ok(*tagged, "2998-01-01")
    careful.ok(*tagged, "2999-01-01")
    assert needed(careful.run(*tagged, "90d")) == needed(careful.run(*tagged, "90d"))
    # What is metadata alone is no export, and what only looks asks nobody.
    careful.ok("backup", "m.json", "--metadata-only")
    careful.ok("restore", "--full-restore", "--dry-run", "--from-target", "frankfurt", *PLAIN)


def test_a_quarantine_is_released_once_two_approved_it(careful: Machine, people: dict[str, Person]) -> None:
    backup = careful.ok("backups", "list", "--json").document["backups"][0]["backup"]
    opened = ("incident", "open", "--backup", backup, "--reason", "odd", "--quarantine-only")
    careful.ok(*opened, "--output", "incident.json", "--force")
    release = ("incident", "release", backup, "--reason", "looked into")
    name = needed(careful.run(*release))
    assert backup in careful.ok("incident", "list").out
    approve(careful, name, people["alice"], people["carol"])
    careful.ok(*release)


def test_closing_an_incident_lifts_its_hold_once_two_approved_it(
    careful: Machine, people: dict[str, Person]
) -> None:
    backups = careful.ok("backups", "list", "--json").document["backups"]
    [backup] = [one for one in backups if one["policy"] == "full"]
    words = ("incident", "open", "--backup", backup["backup"], "--reason", "copied", "--quarantine-only")
    careful.ok(*words, "--force")
    [shown] = careful.ok("incident", "status", "--json").document["incidents"]
    for step in ("reseal", "rotate", "report"):
        careful.ok("incident", "waive", shown["incident"], step, "--reason", "a false alarm")
    asked = careful.run("incident", "close")
    assert asked.failed_with(ApprovalNeeded)
    assert careful.ok("backups", "hold", "list", "--json").document["holds"] != []
    approve(careful, needed(asked), people["alice"], people["bob"])
    careful.ok("incident", "close")
    assert careful.ok("backups", "hold", "list", "--json").document["holds"] == []


def test_a_restore_is_done_by_the_plan_that_was_approved(careful: Machine, people: dict[str, Person]) -> None:
    for name in ("JWT_SECRET_KEY", "REDIS_PASSWORD"):
        careful.ok("secrets", "delete", name, "--force")
    restore = ("restore", "--full-restore", "--from-target", "frankfurt", *PLAIN)
    plain = careful.run(*restore)
    assert plain.failed_with(ApprovalNeeded), plain
    assert "--plan-out" in plain.err
    careful.ok(*restore, "--plan-out", "plan")
    by_plan = ("restore", "--plan", "plan", "--from-target", "frankfurt", *PLAIN)
    name = needed(careful.run(*by_plan))
    shown = careful.ok("approvals", "show", name, "--json").document["request"]
    assert (shown["action"], shown["destination"], shown["size"]) == ("restore", "local", 2)
    assert "create 2, change 0, leave 0 that differ" in shown["lines"]
    # Another plan of the same is another one.
    careful.ok(*restore, "--plan-out", "later")
    approve(careful, name, people["alice"], people["bob"])
    other = careful.run("restore", "--plan", "later", "--from-target", "frankfurt", *PLAIN)
    assert needed(other) != name
    done = careful.ok(*by_plan, "--json").document
    assert done["created"] == 2
    assert "JWT_SECRET_KEY" in careful.ok("list").out
    assert careful.ok("approvals", "show", name, "--json").document["state"] == "used"
    # And once: not even the same plan, though its secrets are gone again.
    careful.ok("secrets", "delete", "JWT_SECRET_KEY", "--force")
    again = careful.run(*by_plan)
    assert again.code != 0
    assert again.named in ("ApprovalNeeded", "NotApproved")
    assert "JWT_SECRET_KEY" not in careful.ok("list").out


def test_an_approved_undo_goes_on_after_a_wrong_key_and_asks_again_once_it_is_over(
    careful: Machine, people: dict[str, Person]
) -> None:
    careful.ok("secrets", "delete", "JWT_SECRET_KEY", "--force")
    file = careful.path("strongroom.toml")
    rules = file.read_text()
    file.write_text(rules.replace('"restore", ', ""))
    restore = ("restore", "--secret-name", "JWT_SECRET_KEY", "--from-target", "frankfurt")
    [back] = careful.ok(*restore, *PLAIN, "--json").document["undo_by"]
    undo = ("restore", "undo", back.split()[3])
    approve(careful, needed(careful.run(*undo, *PLAIN)), people["alice"], people["bob"])
    careful.ok("keys", "new", "--output", "other.key")
    assert careful.run(*undo, "--identity", "other.key").code != 0
    assert "JWT_SECRET_KEY" in careful.ok("list").out
    careful.ok(*undo, *PLAIN)
    assert "JWT_SECRET_KEY" not in careful.ok("list").out
    needed(careful.run(*undo, *PLAIN))


def test_below_the_size_of_a_rule_a_restore_asks_nobody(careful: Machine) -> None:
    file = careful.path("strongroom.toml")
    file.write_text(file.read_text().replace("k = 2\npeople", "above = 1\nk = 2\npeople", 1))
    careful.ok("secrets", "delete", "JWT_SECRET_KEY", "--force")
    careful.ok("restore", "--secret-name", "JWT_SECRET_KEY", "--from-target", "frankfurt", *PLAIN)


def test_the_one_who_asked_a_stranger_and_a_late_one_are_refused_and_that_is_on_record(
    careful: Machine, people: dict[str, Person], tmp_path: Path
) -> None:
    name = needed(careful.run(*EXPORT, SUDO_USER="alice"))
    own = careful.run("approvals", "approve", name, "--key", people["alice"].file, "--force")
    assert own.failed_with(SignatureRefused), own
    assert "alice@example.org asked for this" in own.err
    stranger = person(tmp_path, "eve")
    assert careful.run("approvals", "approve", name, "--key", stranger.file, "--force").failed_with(
        SignatureRefused
    )
    assert not careful.run(*EXPORT, SUDO_USER="bob").err.count(name), "another person's is another request"
    alerts = careful.run("alerts", "send", "--json").document
    [told] = [one for one in alerts["alerts"] if one["kind"] == "approval.refused"]
    assert "2 approvals did not count" in told["what"]
    careful.ok("approvals", "reject", name, "--reason", "no")
    late = careful.run("approvals", "approve", name, "--key", people["bob"].file, "--force")
    assert late.failed_with(NotApproved), late
    assert careful.run(*EXPORT, SUDO_USER="alice").failed_with(NotApproved)
    assert careful.run("approvals", "approve", "nothing", "--force").failed_with(MissingPiece)


def test_a_prune_says_that_less_has_to_be_approved_first(careful: Machine, people: dict[str, Person]) -> None:
    file = careful.path("strongroom.toml")
    file.write_text(file.read_text().replace('"shred"]', '"shred", "retention"]'))
    assert "warning" not in careful.ok("backups", "prune", "--policy", "full").err
    file.write_text(file.read_text().replace("quorum = 2", "quorum = 2\nkeep = { daily = 7 }", 1))
    for words in (("backups", "prune", "--policy", "full"), ("backups", "prune", "--dry-run")):
        told = " ".join(careful.ok(*words).err.split())
        assert "policy 'full' keeps its backups as long as before" in told
    [asked] = careful.ok("approvals", "list", "--json").document["approvals"]
    assert asked["request"]["lines"] == ["keep daily 7, was everything"]
    approve(careful, asked["request"]["subject"], people["alice"], people["bob"])
    assert "as long as before" not in careful.ok("backups", "prune", "--policy", "full").err


def test_where_no_rule_asks_for_it_nothing_is_said_to_be_approved(careful: Machine) -> None:
    name = needed(careful.run(*EXPORT))
    file = careful.path("strongroom.toml")
    file.write_text(file.read_text().partition("[approvals.rules.careful]")[0])
    shown = careful.ok("approvals", "show", name, "--json").document
    assert shown["approved"] is False
    assert "no rule of this one does" in shown["lacks"][0]


def test_it_is_approved_on_a_host_that_has_nothing_but_the_request_and_a_key(
    careful: Machine, other: Machine, people: dict[str, Person]
) -> None:
    name = needed(careful.run(*EXPORT))
    careful.ok("approvals", "show", name, "--output", "request")
    content = careful.path("request").read_bytes()
    other.path("request").write_bytes(content)
    signed = other.ok(
        *("approvals", "approve", "--request", "request", "--output", "sig"),
        "--key",
        people["alice"].file,
        "--force",
    )
    assert "everything of 'local' into" in signed.err, "what is signed is shown"
    again = other.run(
        "approvals", "approve", "--request", "request", "--output", "sig", "--key", people["bob"].file
    )
    assert again.failed_with(WouldOverwrite)
    careful.path("alice.sig").write_bytes(other.path("sig").read_bytes())
    careful.ok("approvals", "add", "alice.sig")
    # OpenSSH alone is enough, too.
    careful.path("bob.sig").write_text(people["bob"].sign(content))
    added = careful.ok("approvals", "add", "bob.sig", "--json").document
    assert added["approved"] is True
    careful.ok(*EXPORT)
    careful.path("git.sig").write_text(people["bob"].sign(content + b"!"))
    assert careful.run("approvals", "add", "git.sig").failed_with(SignatureRefused)


def test_breaking_the_glass_is_an_alarm_until_somebody_looked_into_it(
    careful: Machine, people: dict[str, Person]
) -> None:
    name = needed(careful.run(*EXPORT))
    glass = ("approvals", "approve", name, "--break-glass", "--key", people["carol"].file, "--force")
    assert careful.run(*glass).failed_with(UsageError), "it needs a reason"
    done = careful.ok(*glass, "--reason", "the region burns")
    assert "alarm" in done.out
    assert not alarms(careful)
    careful.ok(*EXPORT)
    assert alarms(careful) == ["approval.break-glass"]
    assert careful.run("alerts", "send").failed_with(BreakGlass)
    assert (
        careful.ok("approvals", "list", "--json").document["approvals"][0]["state"].startswith("break-glass")
    )
    alert = f"approval.break-glass:{name}"
    assert careful.run("alerts", "ack", "approval.break-glass:nothing", "--reason", "no").failed_with(
        UsageError
    )
    careful.ok("alerts", "ack", alert, "--reason", "it did burn")
    assert not alarms(careful)


def alarms(machine: Machine) -> list[str]:
    alerts = machine.run("alerts", "send", "--json").document["alerts"]
    return [one["kind"] for one in alerts if one["kind"].startswith("approval.")]


def test_a_key_in_an_agent_signs_and_an_agent_without_one_that_counts_is_told(
    careful: Machine, people: dict[str, Person], tmp_path: Path
) -> None:
    name = needed(careful.run(*EXPORT))
    stranger = person(tmp_path, "eve")
    with agent(stranger) as sock:
        done = careful.run("approvals", "approve", name, "--force", SSH_AUTH_SOCK=sock)
        assert done.failed_with(UsageError)
        assert "None of the keys in the SSH agent may approve this" in done.err
    with agent(stranger, people["bob"]) as sock:
        careful.ok("approvals", "approve", name, "--force", SSH_AUTH_SOCK=sock)
    assert careful.ok("approvals", "show", name, "--json").document["signed_by"] == ["bob@example.org"]


@contextmanager
def agent(*people: Person) -> Iterator[str]:
    """Run an SSH agent with these people's keys; give its socket."""
    started = subprocess.run(["ssh-agent", "-s"], check=True, capture_output=True, text=True).stdout
    sock, pid = (re.search(rf"{name}=([^;]+);", started) for name in ("SSH_AUTH_SOCK", "SSH_AGENT_PID"))
    assert sock
    assert pid
    env = os.environ | {"SSH_AUTH_SOCK": sock[1]}
    try:
        files = [str(one.file) for one in people]
        subprocess.run(["ssh-add", "-q", *files], check=True, capture_output=True, env=env)
        yield sock[1]
    finally:
        os.kill(int(pid[1]), 15)


def test_the_configuration_is_held_to_what_its_rules_need(
    careful: Machine, people: dict[str, Person]
) -> None:
    allow(careful.path("allowed_signers"), people["alice"], people["bob"])
    remarks = careful.ok("check", "config", "--json").document["remarks"]
    assert any("'carol@example.org' of rule 'careful' has no key" in one for one in remarks)
    file = careful.path("strongroom.toml")
    rules = file.read_text().replace("k = 2", 'k = 4\ndestinations = ["x"]', 1)
    file.write_text(rules)
    problems = careful.run("check", "config", "--json").document["problems"]
    assert {one["key"] for one in problems} == {
        "approvals.rules.careful.k",
        "approvals.rules.careful.destinations[0]",
    }
    # With a configuration that is wrong nothing that may have to be approved is done.
    assert careful.run(*EXPORT).code == 3


def test_without_the_allowed_signers_all_else_goes_on_and_the_escrow_has_them(
    careful: Machine, other: Machine, people: dict[str, Person]
) -> None:
    escrow = ("emergency", "escrow", "escrow.sr", "--recipient", "recovery")
    approve(careful, needed(careful.run(*escrow)), people["alice"], people["bob"])
    careful.ok(*escrow)
    allowed = careful.path("allowed_signers")
    content = allowed.read_text()
    allowed.unlink()
    assert careful.run(*EXPORT).failed_with(ConfigError)
    ready = careful.run("check", "machine", "--json").document["checks"]
    assert [one["state"] for one in ready if one["check"] == "approvals"] == ["wrong"]
    remarks = careful.ok("check", "config", "--json").document["remarks"]
    assert len([remark for remark in remarks if "cannot be read" in remark]) == 1
    careful.ok("backup", "--policy", "metadata")
    for name in ("escrow.sr", "recovery.key"):
        shutil.copy(careful.path(name), other.path(name))
    signer = careful.ok("keys", "signers", "list", "--json").document["installation"]
    other.ok("emergency", "escrow", "escrow.sr", "--open", "--identity", "recovery.key", "--signer", signer)
    assert (other.state / "allowed_signers").read_text() == content
