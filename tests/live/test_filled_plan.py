"""A plan that takes what is missing out of earlier backups is done as it was read, into a live Vault."""

from __future__ import annotations

from pathlib import Path

from strongroom.operations.errors import RunDegraded
from tests.live.openbao import OpenBao
from tests.live.test_older_versions import made_machine
from tests.live.test_recovery_commands import CONFIG
from tests.live.vault_parts import RESTORE, with_policies


def test_a_plan_of_several_backups_is_done_into_a_vault(own_openbao: OpenBao, tmp_path: Path) -> None:
    """A Vault gets the critical ones first, so the plan and the earlier backups are gone through at once."""
    with_policies(own_openbao)
    for number in range(12):
        own_openbao.put("secret/", f"app/{number:02}", {"password": f"CANARY-{number}"})
    metadata = {"custom_metadata": {"tag.priority": "critical"}}
    own_openbao.call("POST", "secret/metadata/app/11", metadata)
    machine = made_machine(tmp_path / "machine")
    token = own_openbao.token_file(machine.home, "default", *RESTORE)
    machine.path("strongroom.toml").write_text(CONFIG.format(address=own_openbao.address, token=token.path))
    machine.ok("backup", "--policy", "vault", "--force")
    for number in range(8):
        own_openbao.call("DELETE", f"secret/metadata/app/{number:02}", None)
    assert machine.run("backup", "--policy", "vault", "--force").failed_with(RunDegraded)

    words = ["--include", "secret/app/*", "--to", "prod", "--fill-from-earlier"]
    machine.ok("restore", *words, "--plan-out", "plan.json")
    done = machine.ok("restore", "--plan", "plan.json", "--force")
    assert "8 secrets created" in done.out
    for number in range(12):
        assert own_openbao.data(f"secret/data/app/{number:02}")["data"] == {"password": f"CANARY-{number}"}
