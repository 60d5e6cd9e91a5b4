"""Every way by which a value can leave asks for approval, or there is a reason why it need not."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import chain

import pytest

import strongroom
from strongroom.cli.table import COMMANDS
from strongroom.cli.values_out import GIVE_NONE, WAYS
from strongroom.model import ApprovalAction
from strongroom.operations.errors import ApprovalNeeded
from tests.cli.conftest import configure, stock
from tests.cli.furnished import Furnish
from tests.cli.program import Machine
from tests.process import ROOT
from tests.ssh_people import Person, allow, person

RULES = """
[approvals]
allowed_signers = "allowed_signers"
[approvals.rules.all]
actions = [{actions}]
k = 1
people = ["alice@example.org"]
"""
CODE = ("strongroom", "workers", "tasks")
PUBLIC = {"strongroom.open", "strongroom.Client"}


# -- the table is complete -----------------------------------------------------------


def test_every_command_says_what_it_asks_or_why_nothing() -> None:
    none = list(chain.from_iterable(GIVE_NONE.values()))
    assert len(none) == len(set(none))
    assert not set(none) & set(WAYS)
    assert set(none) | set(WAYS) - PUBLIC == set(COMMANDS)


def test_what_is_public_in_python_is_a_way_or_cannot_be_called_for_a_value() -> None:
    told = {"OpenedBackup", "OpenedSecret", "Outcome", "Shortfall", "Submission"}  # given by those alone
    told |= {"AlertRecord", "ListedBackup", "ListedReplica", "ListedRun", "PlannedRestore"}
    told |= {"PlanEntry", "RestoreAction"}
    kinds = {name: getattr(strongroom, name) for name in strongroom.__all__}
    warned = {name for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Exception)}
    assert {
        f"strongroom.{name}" for name in set(strongroom.__all__) - told - warned - {"__version__"}
    } == PUBLIC


# -- the code has no other -----------------------------------------------------------

REVEALING = {
    "a person sees it, once that is approved": ("strongroom/cli/shared/access_log.py",),
    "a program of a person's gets it, once that is approved": ("strongroom/api/opened_backup.py",),
    "it is written into a source, by a restore that was approved": (
        *(
            "strongroom/sources/aws/writing.py",
            "strongroom/sources/json_files.py",
            "strongroom/sources/database.py",
        ),
        *("strongroom/sources/local.py", "strongroom/sources/raft/source.py"),
        *(f"strongroom/sources/vault/{name}.py" for name in ("secrets", "system", "writing")),
    ),
    "it is sealed": ("strongroom/container/writer.py", "strongroom/container/segment.py"),
    "a digest is made of it, or it is compared": (
        *(
            "strongroom/operations/procedures/incident_opening.py",
            "strongroom/operations/procedures/incident_exposure.py",
        ),
        "strongroom/operations/procedures/incident_exposure.py",
        "strongroom/operations/archive/live_comparison.py",
        *("strongroom/operations/restore/record.py", "strongroom/operations/restore/take_back.py"),
        *("strongroom/operations/drills/by_record.py", "strongroom/operations/checks/value_checks.py"),
    ),
    "a secret gets a new value, which was approved": (
        *("strongroom/operations/rotation/secret_step.py", "strongroom/operations/rotation/secret_values.py"),
    ),
    "it is no secret of a backup: a plan, an index of names, an escrow's file, a key": (
        *("strongroom/operations/restore/plan_file.py", "strongroom/container/name_index.py"),
        *("strongroom/operations/backup/recovery_kit.py", "strongroom/container/writer.py"),
        *("strongroom/operations/rotation/reencrypt.py", "strongroom/keys/hpke.py"),
        *("strongroom/keys/keyfile.py", "strongroom/keys/passphrase.py", "strongroom/keys/pkcs11/session.py"),
    ),
    "it is made up, for what another package's source is held to": (
        "strongroom/plugins/conformance/sources.py",
    ),
}
"""The modules that turn a value into plain bytes, by what becomes of these."""

EXITS = {
    "strongroom.operations.restore.restore:restore": {
        "strongroom/cli/commands/restore/to_file.py",  # asks for the export
        "strongroom/operations/restore/step.py",  # asks by the plan
        "strongroom/operations/restore/take_back.py",  # an undo, which asks
        "strongroom/operations/drills/steps.py",  # its place goes with it
    },
    "strongroom.operations.backup.single_file:backup_to_file": {
        "strongroom/cli/shared/runs.py",
        "strongroom/cli/commands/backup/emergency.py",  # asks for the export
    },
    "strongroom.cli.shared.runs:seal_file": {
        "strongroom/cli/commands/backup/sealed.py",  # asks for the export
        "strongroom/cli/commands/restore/to_file.py",  # asks for the export
    },
    "strongroom.operations.rotation.single_file:rewrap_file": {"strongroom/cli/commands/keys/rotate.py"},
    "strongroom.operations.rotation.single_file:reencrypt_file": {
        "strongroom/cli/commands/keys/rotate.py"  # asks for the export
    },
}
"""What writes values, or gives them to other keys, and the modules that may call it."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in chain.from_iterable((ROOT / folder).rglob("*.py") for folder in CODE):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def test_each_place_that_reveals_a_value_is_known() -> None:
    known = set(chain.from_iterable(REVEALING.values()))
    own = {"strongroom/model.py"}  # where it is defined
    found = {name for name, tree in modules() if any(_is_reveal(node) for node in ast.walk(tree))}
    assert found - own == known, (
        "say in strongroom/cli/values_out.py and here what becomes of it, and what it asks"
    )


def _is_reveal(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "reveal"


def test_each_caller_of_what_writes_values_out_is_known() -> None:
    callers: dict[str, set[str]] = {name: set() for name in EXITS}
    for name, tree in modules():
        for imported in set(_imported(tree)) & callers.keys():
            callers[imported].add(name)
    assert callers == EXITS, (
        "let it ask as the others do, then name it here and in strongroom/cli/values_out.py"
    )


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}:{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value  # what is loaded late is named by a string


# -- each way asks -------------------------------------------------------------------

PLAIN = ("--identity", "recovery.key")
TARGET = ("--from-target", "frankfurt", *PLAIN)
TRIED: dict[str, tuple[tuple[str, ...], ...]] = {
    "restore": (
        ("restore", "--secret-name", "JWT_SECRET_KEY", *TARGET),
        ("restore", "--full-restore", *TARGET),
        ("restore", "--full-restore", *TARGET, "--to-file", "x.sr", "--recipient", "recovery", "--force"),
    ),
    "get": (
        ("get", "REDIS_PASSWORD", "--show-value"),
        ("get", "REDIS_PASSWORD", "--show-value", "--json"),
        ("get", "JWT_SECRET_KEY", "--show-value", *TARGET),
        ("get", "JWT_SECRET_KEY", "--show-value", "--version", "1", *TARGET),
        ("get", "JWT_SECRET_KEY", "--show-value", "--json", "--backup-file", "full.sr", *PLAIN),
    ),
    "backup": (
        ("backup", "b.sr", "--include-values", "--recipient", "recovery", "--force"),
        ("backup", "--include-values", "e.sr", "--recipient", "recovery", "--force"),
        ("backup", "--policy", "safe", "--force"),
    ),
    "emergency backup": (("emergency", "backup", "safe", "--force"),),
    "emergency escrow": (("emergency", "escrow", "keys.sr", "--recipient", "recovery"),),
    "keys replace": (
        ("keys", "replace", "full.sr", "--current-key", "recovery.key", "--new-key", "mine.key"),
    ),
}
RUN = "tests/operations/approval/test_waiting_run.py::test_no_edited_row_of_a_step_gets_past_the_approval"
NEW_RECIPIENT = (
    "tests/operations/approval/test_changes.py::"
    "test_nothing_is_sealed_for_a_new_recipient_before_it_is_approved_and_then_without_asking_again"
)
OLD_BACKUPS = (
    "tests/operations/approval/test_changes.py::"
    "test_no_rotation_gives_old_backups_a_new_reader_before_it_is_approved"
)
NEW_VALUES = (
    "tests/operations/rotators/test_approval.py::"
    "test_a_rotation_waits_for_its_approvals_and_the_same_call_goes_on_when_they_are_there"
)
BY_ITS_RUN = {
    "restore undo": RUN,
    "strongroom.Client": RUN,
    "runs retry": RUN,
    "up": "tests/live/test_approved_restore.py::"
    "test_it_waits_is_killed_is_approved_meanwhile_is_done_once_and_no_replay_does_it_again",
    "schedule": NEW_RECIPIENT,
    "keys rotate": OLD_BACKUPS,
    "incident": OLD_BACKUPS,
    "secrets rotate": NEW_VALUES,
    "recover": "tests/cli/test_values_out.py::test_each_caller_of_what_writes_values_out_is_known",
    "restore snapshot": "tests/cli/test_values_out.py::test_a_server_is_replaced_by_nobody_alone",
    "strongroom.open": "tests/cli/test_values_out.py::test_a_program_in_python_asks_at_the_first_value",
}
"""Ways that are a run's, a server's or Python's, and the test that tries each."""

SAFE = """
[targets.medium]
kind = "directory"
path = "medium"
region = "safe"
create = true
[policies.safe]
kind = "full"
offline = true
targets = ["medium"]
recipients = ["recovery"]
quorum = 1
regions = 1
single_recipient_reason = "a test"
"""


@pytest.fixture(scope="module")
def alice(tmp_path_factory: pytest.TempPathFactory) -> Person:
    return person(tmp_path_factory.mktemp("people"), "alice@example.org")


@pytest.fixture
def house(machine: Machine, furnish: Furnish, alice: Person) -> Machine:
    """A machine with a backup and a file of it, where people approve whatever may be asked for."""

    def back_up(machine: Machine) -> None:
        machine.ok("backup", "--policy", "full", "--force")
        machine.ok("backup", "full.sr", "--include-values", "--force", "--recipient", "recovery")

    furnish(machine, stock, configure, back_up)
    allow(machine.path("allowed_signers"), alice)
    return machine


def have_approved(machine: Machine, *actions: str) -> None:
    named = ", ".join(f'"{one}"' for one in actions)
    file = machine.path("strongroom.toml")
    file.write_text(file.read_text() + SAFE + RULES.format(actions=named))


def test_every_way_is_tried() -> None:
    assert not TRIED.keys() & BY_ITS_RUN.keys()
    assert TRIED.keys() | BY_ITS_RUN.keys() == WAYS.keys()
    for test in BY_ITS_RUN.values():
        file, _, name = test.partition("::")
        assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE), test


def test_a_server_is_replaced_by_nobody_alone() -> None:
    """The demand stands right before the one call that replaces a server."""
    text = (ROOT / "strongroom" / "cli" / "commands" / "restore" / "snapshot.py").read_text()
    assert text.count("restore_snapshot(") == 1
    before = text.partition("outcome = restore_snapshot(")[0]
    assert "require_approved(" in before.rpartition("def _put_back(")[2]


@pytest.mark.parametrize("name", TRIED)
def test_a_way_out_asks_first_and_gives_nothing(house: Machine, name: str) -> None:
    have_approved(house, *ApprovalAction)
    house.ok("secrets", "delete", "JWT_SECRET_KEY", "--force")  # so that a restore has something to write
    before = set(house.home.rglob("*.sr"))
    for words in TRIED[name]:
        done = house.run(*words)
        assert done.failed_with(ApprovalNeeded), (words, done)
        assert "CANARY" not in done.out + done.err
    assert set(house.home.rglob("*.sr")) == before
    assert not list(house.path("medium").glob("manifests/*"))


@pytest.mark.parametrize("name", [name for name in TRIED if ApprovalAction.EXPORT in WAYS[name].asks])
def test_a_rule_about_exports_alone_is_enough_for_what_exports(house: Machine, name: str) -> None:
    have_approved(house, "export")
    assert house.run(*TRIED[name][-1]).failed_with(ApprovalNeeded)


def test_a_value_is_shown_once_it_was_approved_and_that_alone(house: Machine, alice: Person) -> None:
    have_approved(house, "export")
    words = ("get", "JWT_SECRET_KEY", "--show-value", *TARGET)
    asked = house.run(*words)
    name = re.search(r"'strongroom approvals approve (\S+)'", asked.err)
    assert name, asked
    shown = house.ok("approvals", "show", name[1]).out
    assert "show version 1 of one secret of backup" in shown
    assert "JWT" not in shown
    house.ok("approvals", "approve", name[1], "--key", alice.file, "--force")
    assert house.run("get", "REDIS_PASSWORD", "--show-value", *TARGET).failed_with(ApprovalNeeded)
    assert "CANARY" in house.ok(*words).out
    assert house.run(*words).failed_with(ApprovalNeeded), "an approval is used once"


def test_what_gives_no_value_asks_nobody(house: Machine) -> None:
    have_approved(house, *ApprovalAction)
    for words in (
        ("get", "JWT_SECRET_KEY"),
        ("get", "JWT_SECRET_KEY", *TARGET),
        ("backups", "find", "JWT_SECRET_KEY", *PLAIN),
        ("backups", "history", "JWT_SECRET_KEY", *PLAIN),
        ("backups", "diff", *PLAIN),
        ("list", *TARGET),
        ("backups", "verify", "full.sr", *PLAIN),
        ("backups", "verify", "--opens", "full.sr", *PLAIN),
        ("drill", "local", *TARGET),
    ):
        assert "CANARY" not in house.ok(*words).out


def test_a_program_in_python_asks_at_the_first_value(
    house: Machine, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_approved(house, "export")
    for name, value in house.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(house.home)
    with strongroom.open("full.sr", identity="recovery.key") as backup:
        assert "JWT_SECRET_KEY" in backup.names()
        for reveal in (backup["JWT_SECRET_KEY"].reveal, next(iter(backup.secrets())).reveal):
            with pytest.raises(ApprovalNeeded):
                reveal()
    [asked] = house.ok("approvals", "list", "--json").document["approvals"]
    house.ok("approvals", "approve", asked["request"]["subject"], "--key", alice.file, "--force")
    with strongroom.open("full.sr", identity="recovery.key") as backup:
        assert all(secret.reveal() for secret in backup.secrets())
    with strongroom.open("full.sr", identity="recovery.key") as backup, pytest.raises(ApprovalNeeded):
        backup["JWT_SECRET_KEY"].reveal()
