"""check storage and check rights, as somebody types them."""

from __future__ import annotations

import pytest

from strongroom.errors import UsageError
from strongroom.operations.errors import RefusalMissing
from strongroom.targets.errors import TargetUnavailable
from tests.cli.program import Machine

CONFIG = """
[sources.files]
kind = "files"
path = "{root}/secrets"

[targets.eu]
kind = "directory"
path = "{root}/eu"
region = "eu"
create = true

[targets.us]
kind = "directory"
path = "{root}/us"
region = "us"
"""


@pytest.fixture
def configured(stocked: Machine) -> Machine:
    root = stocked.home
    (root / "secrets").mkdir(mode=0o700)
    (root / "secrets" / "token").write_text("CANARY-token")
    config = root / "strongroom.toml"
    config.write_text(CONFIG.format(root=root))
    stocked.env["STRONGROOM_CONFIG"] = str(config)
    return stocked


def outcomes(document: dict[str, object]) -> dict[tuple[str, str], str]:
    return {
        (probe["name"], check["what"]): check["outcome"]  # type: ignore[index]
        for probe in document["probes"]  # type: ignore[attr-defined]
        for check in probe["checks"]
    }


def test_a_target_that_works_and_one_that_is_not_there_are_told_apart(configured: Machine) -> None:
    done = configured.run("check", "storage", "--json")

    found = outcomes(done.document)
    assert done.failed_with(TargetUnavailable)
    assert found["eu", "read it back"] == "fine"
    assert found["us", "write an object"] == "missing"
    assert "no answer from us, so nothing shows" in " ".join(done.err.lower().split())


def test_a_chosen_target_is_tested_alone_and_shown_as_a_table(configured: Machine) -> None:
    done = configured.ok("check", "storage", "eu")

    assert "us" not in {line.split()[1] for line in done.out.splitlines()[1:]}
    assert "target eu  put other content under its name" in done.out


def test_a_name_that_is_not_configured_is_a_usage_error(configured: Machine) -> None:
    for *command, known in (("check", "storage", "eu, us"), ("check", "rights", "eu, files, us")):
        done = configured.run(*command, "nowhere")
        assert done.failed_with(UsageError)
        assert f"Known: {known}." in done.err


def test_permissions_are_checked_and_what_is_too_many_is_named(configured: Machine) -> None:
    configured.path("secrets").chmod(0o755)

    done = configured.run("check", "rights", "files", "--json")

    assert done.failed_with(RefusalMissing)
    assert outcomes(done.document)["files", "others may not use it"] == "too many"
    assert "everybody may read" in done.out
    assert "CANARY" not in done.out + done.err


def test_the_needs_of_one_role_can_be_asked_for(configured: Machine) -> None:
    configured.ok("check", "rights", "files", "eu")
    done = configured.run("check", "rights", "eu", "--role", "verify")

    assert done.failed_with(RefusalMissing)
    assert "eu: put" in done.err


def test_the_procedures_command_lines_run_on_a_machine_with_nothing_but_its_store(stocked: Machine) -> None:
    assert "source local" in stocked.ok("check", "rights").out
    assert "target region-a" in stocked.ok("check", "storage").out


def test_of_very_many_failures_a_few_are_named_again_and_all_are_listed(configured: Machine) -> None:
    config = configured.path("strongroom.toml")
    config.write_text(
        "".join(
            f'[targets.t{number:02}]\nkind = "directory"\nregion = "r"\n'
            f'path = "{configured.home}/none/{number}"\n'
            for number in range(30)
        )
    )
    done = configured.run("check", "storage")

    assert done.failed_with(TargetUnavailable)
    assert "t29" in done.out
    assert "t29" not in done.err
    assert "and 22 more" in " ".join(done.err.split())
