"""The role that deletes: it has that right and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.config import load_settings
from strongroom.container.marks import DELETION
from strongroom.errors import ConfigError
from strongroom.keys.keyfile import generate_key_file
from strongroom.operations.archive.deletions import make_mark, write_deletion
from strongroom.operations.engine.services import Services
from strongroom.operations.rights.needs import ON_TARGETS, TargetAction
from strongroom.wiring.services import build_services

CONFIG = """
[sources.local]
kind = "local"
[keys.recovery]
kind = "keyfile"
file = "{folder}/recovery.key"
[targets.eu]
kind = "directory"
path = "{folder}/eu"
region = "eu"
create = true
"""


def services(folder: Path, role: str) -> Services:
    config = folder / "strongroom.toml"
    config.write_text(CONFIG.format(folder=folder))
    environment = {"STRONGROOM_CONFIG": str(config), "STRONGROOM_STATE_DIR": str(folder / "state")}
    return build_services(load_settings(environment), role=role)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    generate_key_file(tmp_path / "recovery.key")
    return tmp_path


def test_a_prune_worker_holds_nothing_that_opens_a_backup_reads_a_source_or_writes_one(folder: Path) -> None:
    prune = services(folder, "prune")
    assert (prune.identities(), prune.sources, prune.destinations) == ((), {}, {})
    assert services(folder, "verify").identities() != ()
    for other in ("control", "seal", "recover"):
        with pytest.raises(ConfigError):
            prune.signers(other)


def test_it_alone_marks_a_backup_to_be_deleted(folder: Path) -> None:
    target = services(folder, "operator").target("eu")
    mark = make_mark("x", "marked", reason="no rule keeps it", after="2026-01-01T00:00:00Z")
    for role in ("control", "transfer", "verify"):
        with pytest.raises(ConfigError):
            write_deletion(services(folder, role), [target], mark)
    assert write_deletion(services(folder, "prune"), [target], mark) == {}
    assert [info.name for info in target.list(DELETION.prefix)] == ["deletion/x/00000001.json"]


def test_no_other_role_needs_the_right_to_destroy_versions() -> None:
    assert [role for role, needs in ON_TARGETS.items() if TargetAction.DESTROY in needs] == ["prune"]
