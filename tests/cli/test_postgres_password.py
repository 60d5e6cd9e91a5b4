"""A state database that asks for a password: every command finds it in its file, and shows it nowhere."""

from __future__ import annotations

import pytest

from strongroom.state.errors import StateUnavailable
from strongroom.system.errors import WouldOverwrite
from tests.cli.program import Machine
from tests.postgres import PostgresServer
from tests.postgres import postgres_server as postgres_server  # noqa: PLC0414  # a fixture is found by name

PASSWORD = "CANARY-p@ss/w:rd%20"
ROLE = "strongroom"


@pytest.fixture
def asked(configured: Machine, postgres_server: PostgresServer) -> Machine:
    """An installation whose state is in a PostgreSQL that lets nobody in without a password."""
    if not postgres_server.execute(f"SELECT 1 FROM pg_roles WHERE rolname = '{ROLE}'"):
        postgres_server.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
        postgres_server.ask_for_password(ROLE)
    url = postgres_server.new_database()
    postgres_server.execute(f"GRANT ALL ON SCHEMA public TO {ROLE}", url=url)
    secret = configured.path("database-password")
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    configured.env["STRONGROOM_STATE__URL"] = url.replace("//postgres@", f"//{ROLE}@")
    configured.env["STRONGROOM_STATE__PASSWORD_FILE"] = str(secret)
    return configured


def test_without_the_password_nobody_is_let_in(asked: Machine) -> None:
    del asked.env["STRONGROOM_STATE__PASSWORD_FILE"]
    assert asked.run("runs").failed_with(StateUnavailable)


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize(
    "words",
    [
        ["runs"],
        ["backups", "list"],
        ["backups", "replicas"],
        ["ledger", "check", "--targets"],
        ["reports", "audit"],
        ["list", "--verify-clean", "--exclude", "*"],
    ],
)
def test_every_command_finds_it(asked: Machine, words: list[str]) -> None:
    asked.ok("backup", "--policy", "full", "--force")
    asked.ok("ledger", "publish")
    done = asked.run(*words)
    assert done.code in (0, WouldOverwrite.exit_code), done
    assert PASSWORD not in done.out + done.err


def test_what_a_verification_found_is_entered_there(asked: Machine) -> None:
    asked.ok("backup", "--policy", "full", "--force")
    done = asked.ok("backups", "verify", "dublin", "--depth", "digest")
    assert "not told" not in done.err
