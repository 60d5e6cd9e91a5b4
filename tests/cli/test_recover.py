"""recover: from "a region is lost and a key leaked" to the report, by one command, at any hour."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from strongroom.cli.terminal.failures import INTERRUPTED
from strongroom.container.errors import MissingPiece, UntrustedSigner
from strongroom.errors import StrongroomError, UsageError
from strongroom.operations.archive.recoveries import RECOVERY
from strongroom.operations.errors import ConfirmationRequired, RunDegraded, StepIncomplete
from tests.cli.program import PASSPHRASE, Done, Machine
from tests.cli.terminal import Terminal
from tests.operations.alerts.mail_server import MailServer
from tests.workers.cluster import up

REGIONS = ("region-a", "region-b", "region-c")
VALUES = {"DATABASE_PASSWORD": "CANARY-database", "JWT_KEY": "CANARY-jwt", "REDIS_PASSWORD": "CANARY-redis"}
ALONE = 'recipients = ["recovery"]\nsingle_recipient_reason = "the laptop is stolen"'
SETTINGS = """
[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"
[keys.laptop]
kind = "hpke"
public_key_file = "laptop.key.pub"
[policies.nightly]
kind = "full"
source = "local"
targets = ["region-a", "region-b", "region-c"]
recipients = ["recovery", "laptop"]
quorum = 2
regions = 2
[rotators.new]
kind = "random"
source = "local"
include = ["*"]
[contacts.primary]
who = "DevOps team"
phone = "+49 30 1234567"
[contacts.escalation]
who = "CTO"
phone = "+49 30 7654321"
"""


@pytest.fixture(scope="module")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine with a backup on three regions; nobody writes to it, each takes a copy."""
    machine = Machine(tmp_path_factory.mktemp("recover") / "home")
    targets = ""
    for region in REGIONS:
        machine.path(region).mkdir()
        machine.path(
            region,
        ).joinpath(".strongroom-target").touch()
        targets += f'[targets.{region}]\nkind = "directory"\npath = "{region}"\nregion = "{region}"\n'
    machine.path("strongroom.toml").write_text(f'state_dir = "state"\n{targets}{SETTINGS}')
    for key in ("recovery", "laptop"):
        machine.ok("keys", "new", "--output", f"{key}.key")
    for name, value in VALUES.items():
        machine.set(name, value)
    machine.ok("backup", "--policy", "nightly", "--force")
    return machine.home


@pytest.fixture
def machine(furnished: Path, tmp_path: Path) -> Machine:
    home = tmp_path / "home"
    shutil.copytree(furnished, home)
    return Machine(home)


def lose_store(machine: Machine) -> None:
    shutil.rmtree(machine.state / "store")
    (machine.state / "keys" / "store.key").unlink()


def lose_region(machine: Machine) -> None:
    shutil.rmtree(machine.path("region-a"))


def take_key_out(machine: Machine) -> None:
    """Take the leaked key out of the policy, as its refusal says."""
    file = machine.path("strongroom.toml")
    file.write_text(file.read_text().replace('recipients = ["recovery", "laptop"]', ALONE))


def values(machine: Machine) -> dict[str, str]:
    return {name: machine.ok("get", name, "--show-value").out for name in VALUES}


def recover(machine: Machine, *words: str | Path) -> Done:
    return machine.run("recover", "--identity", "recovery.key", *words)


def recorded(machine: Machine, region: str = "region-b") -> list[Path]:
    return sorted((machine.path(region) / RECOVERY.prefix).rglob("*.json"))


def told(machine: Machine) -> list[str]:
    """Return the alerts about recoveries."""
    alerts = machine.run("alerts", "send", "--json").document["alerts"]
    return [one["kind"] for one in alerts if one["kind"].startswith("recovery.")]


def test_a_tired_person_gets_from_a_lost_region_and_a_leaked_key_to_the_closing_report(
    machine: Machine,
) -> None:
    machine.ok(
        "check", "secrets", "--source", "local", "--from-target", "region-b", "--identity", "laptop.key"
    )
    lose_store(machine)
    lose_region(machine)
    with Terminal(machine, "recover", "--identity", "recovery.key", "--reason", "region-a burns") as person:
        person.await_words("Call (primary): DevOps team, +49 30 1234567")
        person.answer("Which sources are lost? [local]", "loca")
        person.await_words("There is no 'loca' here. Did you mean 'local'?")
        person.answer("Which sources are lost? [local]", "")
        person.answer("Which keys may be in wrong hands?", "laptop")
        person.await_words("'laptop' opens 1 backup, made from ")
        person.await_words(", check secrets opened: 1 time, last at ")
        person.await_words("Target 'region-b': ask who may read ")
        person.answer("Where is 'local' restored into?", "")
        person.await_words("Keys that may be in wrong hands: laptop.")
        person.answer("Write into 'local' now? [y/N]", "y")
        person.await_words("3 secrets created")
        person.answer("into quarantine, and seal it again? [y/N]", "y")
        person.await_words("recovery.key")
        person.answer("Enter tries again", "nonsense")
        person.await_words("such as: skip it is test data")
        take_key_out(machine)
        person.answer("Enter tries again", "")
        for step in ("isolate", "reseal"):
            person.await_words(f"Step '{step}' of the incident is not done")
            person.answer("Enter tries again", "skip region-a is gone for good")
        person.answer("Give the secrets in those backups new values now", "")
        person.await_words("so no secret got a new value")
        assert values(machine) == VALUES
        person.answer("Enter tries again", "")
        person.answer("Give the secrets in those backups new values now", "y")
        code = person.end()
    assert code == RunDegraded.exit_code, person.said
    assert set(values(machine)) == set(VALUES)
    assert not set(values(machine).values()) & set(VALUES.values())  # the leaked ones were rotated
    [report] = (machine.path("region-c") / "recovery-reports").glob("*.json")
    body = json.loads(report.read_bytes())["body"]
    assert [step["ended"] for step in body["steps"]] == ["done"] * 6
    assert (body["lost"], body["leaked"], body["outcome"]) == (["local"], ["laptop"], "degraded")
    assert "region-a is gone for good" in " ".join(body["left_to_do"])
    assert any("check' says" in line and "targets" in line for line in body["left_to_do"])
    [readers] = [one for one in body["steps"][0]["proofs"] if one["check"] == "who read them"]
    assert [line.partition(", ")[2][:29] for line in readers["said"]] == ["check secrets opened: 1 time,"]
    checked = machine.ok("reports", "check", report, "--json").document
    assert checked["checked"] == [report.with_suffix(".html").name]
    for file in (*recorded(machine), report, report.with_suffix(".html")):
        assert not any(name in file.read_text() for name in VALUES), file


def test_nothing_lost_and_nothing_leaked_ends_without_a_change(machine: Machine) -> None:
    before = values(machine)
    done = recover(machine, "--json")
    assert (done.code, done.document["outcome"]) == (0, "nothing")
    assert values(machine) == before


def test_what_differs_stays_unless_somebody_says_otherwise(machine: Machine) -> None:
    machine.set("JWT_KEY", "CANARY-newer")
    words = ("--answer", "lost=local", "--answer", "restore=yes")
    left = recover(machine, *words, "--answer", "overwrite=no")
    assert left.code == RunDegraded.exit_code, left
    assert values(machine)["JWT_KEY"] == "CANARY-newer"


def test_everything_lost_is_recovered_on_a_new_machine_with_a_key_and_a_target(
    machine: Machine, tmp_path: Path
) -> None:
    signer = next(
        line.partition(": ")[2]
        for line in machine.ok("keys", "signers", "list").out.splitlines()
        if line.startswith("Installation: ")
    )
    other = Machine(tmp_path / "new")
    shutil.copytree(machine.path("region-b"), other.path("copy"))
    shutil.copy(machine.path("recovery.key"), other.path("recovery.key"))
    unknown = recover(other, "--from-target", "copy", "--answer", "restore=yes")
    assert unknown.failed_with(UntrustedSigner)
    done = recover(other, "--from-target", "copy", "--signer", signer, "--answer", "restore=yes", "--json")
    assert (done.code, done.document["outcome"]) == (0, "passed"), done
    assert values(other) == VALUES


@pytest.mark.parametrize("leaked", ["none", pytest.param("laptop", marks=pytest.mark.long)])
def test_another_host_goes_on_from_what_lies_on_the_targets(
    machine: Machine, tmp_path: Path, leaked: str
) -> None:
    lose_store(machine)
    take_key_out(machine)
    assert recover(machine, "--answer", f"leaked={leaked}").failed_with(ConfirmationRequired)
    [found] = machine.ok("recover", "--status", "--json").document["recoveries"]
    other = Machine(tmp_path / "other")
    roles = Path("state", "keys", "roles")
    shutil.copytree(machine.home / roles, other.home / roles)
    for name in ("strongroom.toml", "recovery.key", "recovery.key.pub", "laptop.key.pub"):
        shutil.copy(machine.path(name), other.path(name))
    for region in REGIONS:
        other.path(region).symlink_to(machine.path(region))
    words = ("restore=yes", "quarantine=yes", "rotate=yes", "failed.rotate.reseal=skip old copies are locked")
    answers = [word for answer in words for word in ("--answer", answer)]
    done = recover(other, "--resume", found["recovery"], *answers, "--json")
    assert [step["ended"] for step in done.document["steps"][:5]] == ["done"] * 5, done
    rotate = done.document["steps"][5]
    assert rotate["ended"] == ("not needed" if leaked == "none" else "done")
    assert (values(other) == VALUES) == (leaked == "none")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--resume", "20260101T000000Z-00000000"), MissingPiece),
        (("--answer", "restor=yes"), UsageError),
        (("--answer", "restore"), UsageError),
        (("--answers", "nowhere.toml"), UsageError),
    ],
)
def test_a_wrong_word_begins_nothing(
    machine: Machine, words: tuple[str, ...], error: type[StrongroomError]
) -> None:
    assert recover(machine, *words).failed_with(error)
    assert recorded(machine) == []


def test_ctrl_c_says_the_command_that_goes_on(machine: Machine) -> None:
    lose_store(machine)
    with Terminal(machine, "recover", "--identity", "recovery.key") as person:
        for question in ("Which sources are lost?", "in wrong hands?", "restored into?"):
            person.answer(question, "")
        person.await_words("Write into 'local' now?")
        person.type("\x03")
        assert person.end() == INTERRUPTED
    left = " ".join(person.said.partition("interrupted; ")[2].split())
    assert left.startswith("what was done stays. This goes on: strongroom recover --resume ")
    command = left.partition("strongroom ")[2].split()
    assert told(machine) == ["recovery.open"]
    assert machine.run(*command, "--answer", "restore=yes").code == 0
    assert told(machine) == []
    assert values(machine) == VALUES


@pytest.mark.long
@pytest.mark.parametrize(
    "words",
    ["Step 2 of 6", "--plan-out", "restore --plan ", "Step 5 of 6", "incident open", "incident close"],
)
def test_killed_at_any_moment_it_goes_on_and_does_nothing_twice(machine: Machine, words: str) -> None:
    lose_store(machine)
    lose_region(machine)
    take_key_out(machine)
    given = ["leaked=laptop", "restore=yes", "quarantine=yes", "rotate=yes"]
    given += [f"failed.rotate.{step}=skip the region is gone" for step in ("isolate", "reseal")]
    answers = [word for answer in given for word in ("--answer", answer)]
    with Terminal(machine, "recover", "--identity", "recovery.key", *answers) as person:
        for question in ("Which sources are lost?", "restored into?"):
            person.answer(question, "")
        person.await_words(words)
    done = recover(machine, *answers, "--json")
    assert done.code == RunDegraded.exit_code, done
    assert set(values(machine)) == set(VALUES)
    assert not set(values(machine).values()) & set(VALUES.values())
    assert len(machine.ok("incident", "list", "--json").document["incidents"]) == 1
    assert [step["ended"] for step in done.document["steps"]] == ["done"] * 6
    assert len(machine.ok("recover", "--status", "--json").document["recoveries"]) == 1


@pytest.mark.parametrize("how", ["changed", "closed"])
def test_it_looks_again_at_what_people_did_by_hand_meanwhile(machine: Machine, how: str) -> None:
    take_key_out(machine)
    file = machine.path("strongroom.toml")
    file.write_text(file.read_text().replace('include = ["*"]', 'include = ["JWT_KEY"]'))
    yes = [word for name in ("quarantine", "rotate") for word in ("--answer", f"{name}=yes")]
    assert recover(machine, "--answer", "leaked=laptop", *yes).failed_with(StepIncomplete)
    if how == "changed":
        machine.set("DATABASE_PASSWORD", "CANARY-new")
        machine.set("REDIS_PASSWORD", "CANARY-new")
    else:
        [incident] = machine.ok("incident", "status", "--json").document["incidents"]
        machine.ok("incident", "waive", incident["incident"], "rotate", "--reason", "test data")
        machine.ok("incident", "report")
        machine.ok("incident", "close", "--reason", "over")
    done = recover(machine, "--json")
    assert done.document["steps"][-1]["ended"] == "done", done
    assert len(machine.ok("incident", "list", "--json").document["incidents"]) == 1


def test_without_a_terminal_it_stops_before_it_writes_and_mails_each_message_once(machine: Machine) -> None:
    lose_store(machine)
    file = machine.path("strongroom.toml")
    settings = file.read_text()
    with MailServer() as server:
        mail = f'[mail]\nhost = "127.0.0.1"\nport = {server.port}\nsecurity = "none"\n'
        told = '[recovery]\nstakeholders = ["owners@example.org"]\n'
        file.write_text(settings + mail + told)
        for _ in range(2):
            done = recover(machine)
            assert done.failed_with(ConfirmationRequired)
            assert "--answer restore=ANSWER" in " ".join(done.err.split())
            assert not (machine.state / "store").exists()
        [opened] = server.mails
    assert opened.recipients == ("owners@example.org",)
    assert "a recovery is under way" in opened.subject
    assert "Lost: local." in opened.text
    assert not any(name in opened.text for name in VALUES)
    done = recover(machine, "--answer", "restore=yes", "--json")  # nobody listens any more
    assert (done.code, values(machine)) == (0, VALUES), done
    assert {one["message"]: one["lines"] for one in done.document["told"]} == {
        "opened": ["mailed to owners@example.org"],
        "restored": ["not mailed to owners@example.org: MailUnavailable"],
        "closed": ["not mailed to owners@example.org: MailUnavailable"],
    }


def test_a_newer_backup_of_a_part_comes_after_the_older_one_of_everything(machine: Machine) -> None:
    file = machine.path("strongroom.toml")
    nightly = file.read_text().partition("[policies.nightly]")[2].partition("[rotators")[0]
    part = nightly.replace("quorum = 2", 'include = ["JWT_*"]\nquorum = 2')
    file.write_text(f"{file.read_text()}[policies.part]{part}")
    machine.set("JWT_KEY", "CANARY-newer")
    machine.ok("backup", "--policy", "part", "--force")
    lose_store(machine)
    machine.path("answers.toml").write_text('lost = "local"\nrestore = "yes"\n[into]\nlocal = "local"\n')
    done = recover(machine, "--answers", "answers.toml", "--json")
    assert done.code == 0, done
    assert [part["policy"] for part in done.document["parts"]] == ["nightly", "part"]
    assert values(machine) == VALUES | {"JWT_KEY": "CANARY-newer"}


def test_a_source_that_does_not_answer_is_restored_where_somebody_says(machine: Machine) -> None:
    file = machine.path("strongroom.toml")
    there = file.read_text().replace(
        "[keys.recovery]",
        '[sources.local]\nkind = "local"\n[sources.spare]\nkind = "local"\npath = "spare"\n[keys.recovery]',
    )
    file.write_text(there)
    (machine.state / "store" / "secrets.db").write_bytes(b"no database at all")
    done = recover(machine, "--answer", "into.local=spare", "--answer", "restore=yes", "--json")
    assert done.code == RunDegraded.exit_code, done
    assert "check" in done.document["left_to_do"][0]  # the damaged store is still there
    [source] = done.document["sources"]
    assert (source["there"], done.document["lost"]) == (None, ["local"])
    listed = machine.ok("list", "--source", "spare", "--json").document["secrets"]
    assert {one["name"] for one in listed} == set(VALUES)


@pytest.mark.long
def test_the_cluster_recovers_in_one_run_which_is_followed_on_after_a_kill(machine: Machine) -> None:
    file = machine.path("strongroom.toml")
    opens = f'public_key_file = "recovery.key.pub"\nidentity_file = "{machine.path("recovery.key")}"'
    file.write_text(
        file.read_text().replace('public_key_file = "recovery.key.pub"', opens)
        + '[sources.local]\nkind = "local"\n'
    )
    machine.ok("secrets", "delete", "REDIS_PASSWORD", "--force")
    less = machine.run("backup", "--policy", "nightly", "--force")  # the one before has what is missing
    assert less.failed_with(RunDegraded)
    lose_store(machine)
    with up(machine, "--with-recover"):
        with Terminal(machine, "recover", "--cluster", "--answer", "restore=yes") as person:
            for question in ("Which sources are lost?", "in wrong hands?", "restored into?"):
                person.answer(question, "")
            person.answer("or 'newest' alone? [all]", "")
            person.await_words("--follow")
        done = machine.run("recover", "--cluster", "--json")
    assert done.code in (0, RunDegraded.exit_code), done
    assert "out of earlier ones" in done.err, done.err
    assert values(machine) == VALUES
    [restoring] = [step for step in done.document["steps"] if step["step"] == "restore"]
    assert [proof["check"] for proof in restoring["proofs"]].count("submitted run") == 1
    listed = machine.ok("runs", "--json").document["runs"]
    assert [run["kind"] for run in listed].count("recovery") == 1
    shown = {proof["check"]: proof for step in done.document["steps"] for proof in step["proofs"]}
    assert "check" in " ".join(shown["host of the recover worker"]["said"])
    assert shown["validation by the run"]["said"] == ["2 secrets validated, 0 wrong"]


@pytest.mark.long
def test_a_passphrase_is_asked_for_once_and_written_nowhere(machine: Machine) -> None:
    file = machine.path("strongroom.toml")
    settings = file.read_text().replace('recipients = ["recovery", "laptop"]', 'recipients = ["words"]')
    settings = settings.replace("regions = 2", 'regions = 2\nsingle_recipient_reason = "a test"')
    file.write_text(f'{settings}[keys.words]\nkind = "passphrase"\n')
    machine.ok("backup", "--policy", "nightly", "--force", STRONGROOM_PASSPHRASE=PASSPHRASE)
    lose_store(machine)
    with Terminal(machine, "recover", "--ask-passphrase", "--answer", "restore=yes") as person:
        person.answer("Passphrase: ", PASSPHRASE)
        for question in ("Which sources are lost?", "in wrong hands?", "restored into?"):
            person.answer(question, "")
        assert person.end() == 0, person.said
    assert person.said.count("Passphrase: ") == 1
    assert values(machine) == VALUES
    assert PASSPHRASE not in person.said
    kept = (path for path in machine.home.rglob("*") if path.is_file())
    assert not [path for path in kept if PASSPHRASE.encode() in path.read_bytes()]
