"""What is loaded: defaults, a full example, the environment, and where the file is."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom.config import (
    DirectoryTargetSettings,
    FilesSourceSettings,
    HpkeKey,
    KeyFileKey,
    LocalSourceSettings,
    PassphraseKey,
    find_config,
    load_settings,
)
from strongroom.config.calendar import Entry
from strongroom.config.policies import KeepSettings
from strongroom.model import Depth, Selection
from tests.config.loading import Place, problems_from

EXAMPLE = """
state_dir = "/var/lib/strongroom"

[broker]
url = "rediss://strongroom@redis.example.org:6380/0"
password_file = "/run/secrets/broker"

[state]
url = "postgresql://strongroom@db.example.org/strongroom"

[stages.default]
kind = "directory"
path = "~/stage"
region = "stage"

[sources.local]
kind = "local"

[sources.mounted]
kind = "files"
path = "mounted"
format = "tree"

[targets.eu]
kind = "directory"
path = "/mnt/eu"
region = "eu-west"
provider = "nas"

[targets.us]
kind = "directory"
path = "/mnt/us"
region = "us-east"
create = true

[keys.recovery]
kind = "hpke"
public_key = "srpub1:x25519:AAAA"
identity_file = "/etc/strongroom/recovery.key"

[keys.file]
kind = "keyfile"
file = "/etc/strongroom/backup.key"

[keys.words]
kind = "passphrase"
iterations = 1_000_000

[policies.weekly-critical]
kind = "full"
source = "mounted"
targets = ["eu", "us"]
recipients = ["recovery", "words"]
schedule = "0 3 * * 0"
quorum = 1
regions = 1
include = ["prod/*"]
exclude = ["*/scratch"]
tags = { priority = "critical" }
verify = "compared"
minimum_retention_days = 400
minimum_retention_count = 5
keep = { daily = 14, yearly = 7 }

[policies.daily]
kind = "metadata"
targets = ["eu", "us"]

[calendar]
time_zone = "Europe/Berlin"
full-drill = "0 5 1 * *"
drift = false

[drill]
policy = "weekly-critical"
cut_off = "us"
objective_seconds.full = 900

[trust]
signers = ["sr1:%s"]

[workers]
seal = 4

[limits]
lease_seconds = 30
max_attempts = 3
container_bytes = "16MiB"
stage_bytes = "1 GB"

[flower]
password_file = "/run/secrets/flower"

[sentry]
dsn = "https://key@sentry.example.org/1"
""" % ("ab" * 32)


def test_a_full_example_is_read_as_written(place: Place) -> None:
    settings = place.load(EXAMPLE)

    assert settings.state_dir == Path("/var/lib/strongroom")
    assert settings.broker.url == "rediss://strongroom@redis.example.org:6380/0"
    assert settings.database_url == "postgresql://strongroom@db.example.org/strongroom"
    assert settings.stages["default"].folder == Path("~/stage").expanduser()
    assert settings.stage_of("weekly") == settings.stage_of("") == "default"
    assert settings.stage_path == Path("~/stage").expanduser()  # of runs that began when it had no name
    assert settings.sources == {
        "local": LocalSourceSettings(kind="local"),
        "mounted": FilesSourceSettings(kind="files", path=place.path / "mounted", format="tree"),
    }
    assert settings.targets["us"] == DirectoryTargetSettings(
        kind="directory", path=Path("/mnt/us"), region="us-east", create=True
    )
    assert settings.keys == {
        "recovery": HpkeKey(
            kind="hpke", public_key="srpub1:x25519:AAAA", identity_file=Path("/etc/strongroom/recovery.key")
        ),
        "file": KeyFileKey(kind="keyfile", file=Path("/etc/strongroom/backup.key")),
        "words": PassphraseKey(kind="passphrase", iterations=1_000_000),
    }
    assert settings.schedules == {"weekly-critical": ("0 3 * * 0", "Europe/Berlin")}
    assert settings.drill.objective_seconds.full == 900
    assert settings.calendar.full_drill.schedule == "0 5 1 * *"
    assert settings.calendar.full_drill.written
    assert settings.calendar.drift == Entry("0 6 * * *", written=True, off=True)
    assert settings.calendar.repair == Entry("17 * * * *")
    assert settings.calendar.zone_of(None) == "Europe/Berlin"
    assert settings.trust.signers == ("sr1:" + "ab" * 32,)
    assert settings.workers.seal == 4
    assert settings.limits.container_bytes == 16 * 1024 * 1024
    assert settings.limits.stage_bytes == 10**9
    policy = settings.policies["weekly-critical"]
    assert policy.sealed
    assert policy.selection == Selection(
        include=("prod/*",), exclude=("*/scratch",), tags={"priority": "critical"}
    )
    assert policy.verify is Depth.COMPARED
    assert (policy.quorum, policy.regions) == (1, 1)
    assert (policy.minimum_retention_days, policy.minimum_retention_count) == (400, 5)
    assert policy.keep == KeepSettings(daily=14, yearly=7)


def test_defaults_fill_in_what_an_example_leaves_out(place: Place) -> None:
    policy = place.load(EXAMPLE).policies["daily"]

    assert not policy.sealed
    assert (policy.source, policy.recipients, policy.schedule) == ("local", (), None)
    assert (policy.quorum, policy.regions) == (2, 2)  # a majority, in two regions
    assert (policy.minimum_retention_days, policy.verify) == (365, Depth.DIGEST)


def test_without_a_file_there_is_a_local_store_and_three_regions(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.path)
    state = place.path / "home" / ".local" / "state" / "strongroom"

    settings = load_settings(place.env)

    assert settings.state_dir == state
    assert settings.sources == {"local": LocalSourceSettings(kind="local")}
    assert {
        name: (target.path, target.region, target.create) for name, target in settings.targets.items()
    } == {name: (state / "targets" / name, name, True) for name in ("region-a", "region-b", "region-c")}
    assert settings.keys == {}
    assert {name: (policy.kind, policy.schedule) for name, policy in settings.policies.items()} == {
        "daily-metadata": ("metadata", "0 2 * * *")
    }
    assert settings.broker.url is None
    assert settings.database_url == f"sqlite:///{state}/state.db"
    assert (settings.stages, settings.stage_of("daily-metadata")) == ({}, "")
    assert settings.stage_path == state / "stage"
    limits = settings.limits
    assert (limits.lease_seconds, limits.max_attempts) == (15, 5)


def test_an_empty_table_of_targets_has_none(place: Place) -> None:
    assert place.load("[targets]\n").targets == {}


@pytest.mark.parametrize(("text", "rate"), [("2", 2.0), ("0.5", 0.5), ("inf", math.inf)])
def test_a_rate_is_a_number_whole_or_not(place: Place, text: str, rate: float) -> None:
    found = place.load(f"[rotation]\nrate = {text}\n").rotation.rate

    assert found == rate
    assert isinstance(found, float)


def test_a_majority_of_the_targets_is_asked_for_in_two_regions_if_it_is_two(place: Place) -> None:
    names = ", ".join(f'"region-{letter}"' for letter in "abc")
    for count, quorum, regions in ((1, 1, 1), (2, 2, 2), (3, 2, 2)):
        targets = ", ".join(names.split(", ")[:count])
        policy = place.load(f'[policies.p]\nkind = "metadata"\ntargets = [{targets}]\n').policies["p"]
        assert (policy.quorum, policy.regions) == (quorum, regions)


def test_a_container_may_be_as_small_as_64_kib(place: Place) -> None:
    assert place.load('[limits]\ncontainer_bytes = "64KiB"\n').limits.container_bytes == 65_536


def test_a_database_may_be_reached_by_a_socket(place: Place) -> None:
    url = "postgresql://strongroom@/strongroom?host=/run/postgresql"
    assert place.load(f'[state]\nurl = "{url}"\n').database_url == url


def test_settings_and_everything_in_them_are_frozen(place: Place) -> None:
    settings = place.load(EXAMPLE)

    for model, field in (
        (settings, "state_dir"),
        (settings.policies["daily"], "quorum"),
        (settings.keys["words"], "iterations"),
        (settings.broker, "url"),
    ):
        with pytest.raises(AttributeError):
            setattr(model, field, None)


# -- where the file is ---------------------------------------------------------------


def test_the_file_is_the_named_one_else_the_one_here_else_the_states_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, state, named = tmp_path / "here", tmp_path / "state", tmp_path / "named.toml"
    here.mkdir()
    state.mkdir()
    monkeypatch.chdir(here)
    env = {"STRONGROOM_STATE_DIR": str(state)}

    assert find_config(env) is None
    (state / "strongroom.toml").touch()
    assert find_config(env) == state / "strongroom.toml"
    (here / "strongroom.toml").touch()
    assert find_config(env) == here / "strongroom.toml"
    assert find_config({**env, "STRONGROOM_CONFIG": str(named)}) == named


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"STRONGROOM_STATE_DIR": "/a", "XDG_STATE_HOME": "/b", "HOME": "/c"}, "/a"),
        ({"XDG_STATE_HOME": "/b", "HOME": "/c"}, "/b/strongroom"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/c"}, "/c/.local/state/strongroom"),
        ({"HOME": "/c"}, "/c/.local/state/strongroom"),
    ],
)
def test_the_state_directory_follows_the_environment(
    place: Place, env: dict[str, str], expected: str
) -> None:
    place.file.touch()

    assert load_settings(env, place.file).state_dir == Path(expected)


def test_the_state_directory_of_the_environment_wins_over_the_files(place: Place) -> None:
    assert place.load('state_dir = "/x"\n').state_dir == Path("/x")
    assert place.load('state_dir = "/x"\n', {"STRONGROOM_STATE_DIR": "/y"}).state_dir == Path("/y")


def test_without_a_home_a_state_directory_is_asked_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    place.file.touch()

    (found,) = problems_from(lambda: load_settings({}, place.file))

    assert (found.key, found.right) == ("state_dir", "Set STRONGROOM_STATE_DIR.")
    assert problems_from(lambda: load_settings({"STRONGROOM_STATE_DIR": "/x"}, place.file)) == []


@pytest.mark.parametrize("home", ["~", "~/x", "~nobodyxx", "/tmp/\udcff"])
def test_a_home_that_is_no_directory_is_named(
    place: Place, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    monkeypatch.setenv("HOME", home)  # what "~" stands for is asked of the process itself

    found = place.problems("[workers]\nseal = 0\n", {"HOME": home})

    assert [(problem.where, problem.key, problem.right) for problem in found] == [
        ("environment HOME", "state_dir", "Set STRONGROOM_STATE_DIR."),
        (str(place.file), "workers.seal", "At least 1."),
    ]
    assert place.load('state_dir = "/x"\n', {"HOME": home}).state_dir == Path("/x")


@pytest.mark.parametrize("home", ["~", "~/x", "~nobodyxx", "/tmp/\udcff"])
def test_a_wrong_state_directory_without_a_home_is_one_problem(
    place: Place, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    monkeypatch.setenv("HOME", home)

    (found,) = place.problems("state_dir = 7\n", {"HOME": home})

    assert (found.key, found.what) == ("state_dir", "wrong type")


@pytest.mark.parametrize("variable", ["XDG_STATE_HOME", "STRONGROOM_STATE_DIR"])
def test_the_variable_that_names_no_state_directory_is_told(place: Place, variable: str) -> None:
    (found,) = place.problems("", {variable: "/x/\udcff"})

    assert (found.where, found.key) == (f"environment {variable}", "state_dir")


def test_a_path_from_a_directory_whose_name_is_no_text_is_refused(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = place.path / os.fsdecode(b"\xff")
    here.mkdir()
    monkeypatch.chdir(here)

    variable = "STRONGROOM_BROKER__PASSWORD_FILE"
    (found,) = problems_from(lambda: load_settings({**place.env, variable: "stage"}))

    assert (found.where, found.key) == (f"environment {variable}", "broker.password_file")
    assert found.what.startswith("leads through a directory whose name is not a text")
    assert load_settings({**place.env, variable: "/stage"}).broker.password_file == Path("/stage")


@pytest.mark.parametrize("text", ["", "x\n"], ids=["right", "no TOML"])
def test_a_file_at_a_path_that_is_no_text_is_refused(place: Place, text: str) -> None:
    inside = Place(place.path / os.fsdecode(b"\xff"))
    inside.path.mkdir()

    (found,) = inside.problems(text, place.env)

    assert found.where == f"{place.path}/\\udcff/strongroom.toml"
    assert found.what == "its path is not a text in UTF-8"


def test_a_link_into_a_directory_whose_name_is_no_text_can_be_shown(place: Place) -> None:
    real = place.path / os.fsdecode(b"\xff")
    real.mkdir()
    (place.path / "link").symlink_to(real)

    (found,) = place.problems(
        '[targets.t]\nkind = "directory"\nregion = "r"\npath = "link"\n'
        '[approvals]\nallowed_signers = "link/people"\n'
    )

    assert str(found).encode().endswith(b"\\udcff.")


# -- the environment -----------------------------------------------------------------


def test_the_environment_overrides_single_settings(place: Place) -> None:
    settings = place.load(
        EXAMPLE,
        {
            "STRONGROOM_BROKER__URL": "redis://127.0.0.1:6379/1",
            "STRONGROOM_WORKERS__SEAL": "7",
            "STRONGROOM_LIMITS__STAGE_BYTES": "3GiB",
            "STRONGROOM_TARGETS__US__CREATE": "false",
            "STRONGROOM_POLICIES__WEEKLY_CRITICAL__QUORUM": "2",
            "STRONGROOM_POLICIES__weekly-critical__TARGETS": '["us", "eu"]',
            "STRONGROOM_POLICIES__DAILY__TAGS": '{ team = "core" }',
            "STRONGROOM_STATE_DIR": "/elsewhere",
        },
    )

    assert settings.broker.url == "redis://127.0.0.1:6379/1"
    assert settings.workers.seal == 7
    assert settings.limits.stage_bytes == 3 * 1024**3
    assert settings.targets["us"].create is False
    assert settings.policies["weekly-critical"].quorum == 2
    assert settings.policies["weekly-critical"].targets == ("us", "eu")
    assert settings.policies["daily"].tags == {"team": "core"}
    assert settings.state_dir == Path("/elsewhere")


def test_the_environment_names_an_entry_of_the_calendar_that_the_file_does_not(place: Place) -> None:
    settings = place.load(
        "", {"STRONGROOM_CALENDAR__FULL_DRILL": "false", "STRONGROOM_CALENDAR__DRIFT": "0 9 * * *"}
    )

    assert settings.calendar.full_drill.off
    assert settings.calendar.drift == Entry("0 9 * * *", written=True)


def test_the_environment_alone_can_set_up_everything(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.path)

    settings = load_settings(
        {
            **place.env,
            "STRONGROOM_TARGETS__EU__KIND": "directory",
            "STRONGROOM_TARGETS__EU__PATH": "eu",
            "STRONGROOM_TARGETS__EU__REGION": "1",
        }
    )

    assert settings.targets == {
        "eu": DirectoryTargetSettings(kind="directory", path=place.path / "eu", region="1")
    }
    assert settings.policies == {}


def test_a_number_is_read_as_text_where_text_is_wanted(place: Place) -> None:
    assert place.load("", {"STRONGROOM_FLOWER__USER": "42"}).flower.user == "42"


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 250, "[" * 250 + "]" * 250, "true"])
def test_whatever_looks_like_a_value_can_be_text(place: Place, text: str) -> None:
    assert place.load("", {"STRONGROOM_FLOWER__USER": text}).flower.user == text


def test_a_number_is_read_as_a_path_where_one_is_wanted(place: Place) -> None:
    given = place.load("", {"STRONGROOM_BROKER__PASSWORD_FILE": "7"})
    assert given.broker.password_file == place.path / "7"


def test_text_of_the_environment_replaces_only_what_it_overrides(place: Place) -> None:
    (found,) = place.problems("[flower]\nhost = 7\n", {"STRONGROOM_FLOWER__USER": "7"})

    assert (found.key, found.where) == ("flower.host", str(place.file))


def test_what_is_no_text_is_not_taken_as_one(place: Place) -> None:
    found = place.problems("[flower]\nuser = 7\n", {"STRONGROOM_FLOWER__USER": "\udcff"})

    assert [problem.what for problem in found] == ["not a text in UTF-8", "wrong type"]


@pytest.mark.parametrize(
    ("variable", "text", "key", "what"),
    [
        ("STRONGROOM_WORKERS__SEAL", "many", "workers.seal", "wrong type"),
        ("STRONGROOM_WORKERS__SEAL", "0", "workers.seal", "too small"),
        ("STRONGROOM_WORKERS__SEAL", "9" * 5000, "workers.seal", "wrong type"),
        ("STRONGROOM_TRUST__SIGNERS", "[" * 250 + "]" * 250, "trust.signers", "wrong type"),
        ("STRONGROOM_BROKR__URL", "x", "brokr", "unknown key"),
        ("STRONGROOM_" + "__".join("A" * 3000), "x", "a", "unknown key"),
        ("STRONGROOM_BROKER__ULR", "x", "broker.ulr", "unknown key"),
        ("STRONGROOM_BROKER__URL", "redis://:CANARY-p@localhost", "broker.url", "holds a password"),
        ("STRONGROOM_BROKER__URL__X", "x", "broker.url.x", "goes deeper"),
        ("STRONGROOM_BROKER_URL", "redis://localhost", "broker.url", "joined by two underscores"),
        ("STRONGROOM_FLOWER__USER", "\udcff", "flower.user", "not a text in UTF-8"),
    ],
)
def test_a_problem_of_the_environment_names_the_variable(
    place: Place, variable: str, text: str, key: str, what: str
) -> None:
    (found,) = place.problems('[broker]\nurl = "redis://localhost"\n', {variable: text})

    assert found.where == f"environment {variable}"
    assert found.key == key
    assert what in found.what
    assert "CANARY" not in str(found)


def test_a_variable_whose_name_is_no_text_can_still_be_shown(place: Place) -> None:
    (found,) = place.problems("", {"STRONGROOM_BROKER__\udcff": "x"})

    assert (found.where, found.key) == ("environment STRONGROOM_BROKER__\\udcff", 'broker."\\udcff"')


def test_variables_that_are_not_settings_are_left_alone(place: Place) -> None:
    env = {"STRONGROOM_PASSPHRASE": "CANARY-p", "STRONGROOM_PASSPHRASE_FILE": "/x", "STRONGROOM_OTHER": "1"}

    assert "CANARY" not in repr(place.load("", env))


# -- the cost ------------------------------------------------------------------------


def test_importing_the_configuration_imports_nothing_heavy() -> None:
    code = "import sys, strongroom.config; print(*sys.modules)"

    modules = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    assert "strongroom.config.model" in modules
    for heavy in ("sqlalchemy", "celery", "boto3", "cryptography", "cronsim", "difflib", "kombu", "pydantic"):
        assert heavy not in modules


def test_settings_reach_a_child_process_unchanged(place: Place) -> None:
    settings = place.load(EXAMPLE)

    assert pickle.loads(pickle.dumps(settings)) == settings
