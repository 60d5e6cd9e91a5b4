"""Which plug-ins are loaded, and what each one that cannot be used is told as."""

from __future__ import annotations

import contextlib
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from strongroom.config import ConfigProblems, Settings, load_settings, registry
from strongroom.config.kinds import UnusableTarget
from strongroom.config.reference import json_schema
from strongroom.config.registry import broken_plugins, loaded_plugins
from strongroom.errors import TargetError
from strongroom.system.errors import (
    PluginBroken,
    PluginNamedTwice,
    PluginNotARecord,
    PluginNotImported,
    PluginOfAnotherVersion,
)
from strongroom.wiring import adapters
from tests.plugins.installed import TARGET, install
from tests.process import ROOT

NAMED = '[targets.one]\nkind = "tape"\nregion = "safe"\n'
OURS = '[targets.two]\nkind = "directory"\npath = "two"\nregion = "here"\ncreate = true\n'


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages that this process finds, and what it imported of it is forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(registry, "_loaded", {})
    monkeypatch.setattr(registry, "_failed", {})
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(folder) in (getattr(sys.modules[name], "__file__", None) or ""):
            del sys.modules[name]


def load(folder: Path, text: str) -> Settings:
    (folder / "strongroom.toml").write_text(text)
    return load_settings({"STRONGROOM_STATE_DIR": str(folder / "state")}, folder / "strongroom.toml")


def refused(tmp_path: Path, kind: type[PluginBroken]) -> PluginBroken:
    """Load a configuration that names the plug-in and a target of ours; return why the plug-in is refused."""
    settings = load(tmp_path, NAMED + OURS)
    [broken] = broken_plugins()
    assert type(broken) is kind
    assert loaded_plugins() == ()
    assert adapters.target("two", settings, prepare=True).stat("a") is None, "what is ours goes on"
    stand_in = adapters.target("one", settings, prepare=False)
    assert (stand_in.region, isinstance(settings.targets["one"], UnusableTarget)) == ("safe", True)
    with pytest.raises(TargetError) as told:
        next(iter(stand_in.list()))
    assert told.value.message == broken.message
    assert broken.hint
    return broken


def test_what_we_declare_for_others_is_what_we_know_ourselves() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    for section, kinds in registry.OWN.items():
        assert declared[registry.GROUPS[section]] == kinds
        assert list(kinds) == [registry.kind_of(record) for record in registry.own_kinds(section)]


def test_a_plugin_is_loaded_when_the_configuration_names_it(site: Path, tmp_path: Path) -> None:
    install(site, "acme-tape")
    settings = load(tmp_path, NAMED.replace("region", "reel = 7\nregion"))
    [plugin] = loaded_plugins()
    assert (plugin.package, plugin.version, plugin.kind) == ("acme-tape", "1.2", "tape")
    assert plugin.file == str(site / "acme_tape.py")
    assert settings.targets["one"].reel == 7  # type: ignore[attr-defined]
    target = adapters.target("one", settings, prepare=False)
    assert (target.stat("a"), target.provider) == (None, "acme")


def test_its_settings_are_checked_as_ours_are(site: Path, tmp_path: Path) -> None:
    install(site, "acme-tape")
    with pytest.raises(ConfigProblems) as problems:
        load(tmp_path, NAMED + "reel = 0\nreeel = 2\n")
    assert {(each.key, each.what) for each in problems.value.problems} == {
        ("targets.one.reel", "too small"),
        ("targets.one.reeel", "unknown key"),
    }


def test_the_schema_of_the_configuration_has_what_a_plugin_takes_once_it_is_named(
    site: Path, tmp_path: Path
) -> None:
    install(site, "acme-tape")

    def refuses(reel: str) -> bool:
        text = f"{NAMED}reel = {reel}\n"
        return bool(list(Draft202012Validator(json_schema()).iter_errors(tomllib.loads(text))))

    assert not refuses('"many"'), "of a kind that nobody names only the name is known"
    assert "acme_tape" not in sys.modules
    load(tmp_path, NAMED)
    assert refuses('"many"')
    assert not refuses("3")


@pytest.mark.parametrize("text", [OURS, NAMED.replace("tape", "tapes")], ids=["of ours", "unknown"])
def test_a_plugin_that_nobody_names_is_never_imported(site: Path, tmp_path: Path, text: str) -> None:
    install(site, "acme-tape", f"open({str(tmp_path / 'imported')!r}, 'w')\n{TARGET}")
    with contextlib.suppress(ConfigProblems):
        load(tmp_path, text)
    assert not (tmp_path / "imported").exists()
    assert loaded_plugins() == ()


def test_an_unknown_kind_is_told_with_those_that_are_installed(site: Path, tmp_path: Path) -> None:
    install(site, "acme-tape")
    with pytest.raises(ConfigProblems) as problems:
        load(tmp_path, NAMED.replace("tape", "tapes"))
    assert "vault, tape. If a plug-in has it" in problems.value.problems[0].right


def test_a_configuration_of_ours_alone_looks_through_no_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(**_: object) -> None:
        raise AssertionError("the packages were looked through")

    monkeypatch.setattr("importlib.metadata.entry_points", look)
    assert list(load(tmp_path, OURS).targets) == ["two"]


def test_a_package_cannot_take_the_place_of_one_of_ours(site: Path, tmp_path: Path) -> None:
    install(site, "acme-tape", "raise SystemExit('taken')", entries={"directory": "acme_tape:Tape"})
    settings = load(tmp_path, OURS)
    assert type(settings.targets["two"]).__module__ == "strongroom.config.targets"


def test_two_packages_that_claim_one_name_are_refused_by_name(site: Path, tmp_path: Path) -> None:
    install(site, "acme-tape", f"open({str(tmp_path / 'imported')!r}, 'w')")
    install(site, "other-tape", f"open({str(tmp_path / 'imported')!r}, 'w')")
    broken = refused(tmp_path, PluginNamedTwice)
    assert "acme-tape and other-tape" in broken.message
    assert not (tmp_path / "imported").exists(), "neither is imported"


@pytest.mark.parametrize(
    "text",
    [
        "import nothing_of_that_name",
        "raise KeyError('x')",
        "raise SystemExit(3)",
        "def broken(:",
        "Other = 1",
    ],
)
def test_a_plugin_that_cannot_be_imported_is_named(site: Path, tmp_path: Path, text: str) -> None:
    install(site, "acme-tape", text)
    assert "package acme-tape cannot be imported" in refused(tmp_path, PluginNotImported).message


def test_a_plugin_of_another_version_is_named_with_both(site: Path, tmp_path: Path) -> None:
    install(site, "acme-tape", TARGET.format(api=2, module="acme_tape", kind="tape"))
    assert "version 2 of what a plug-in is asked for, and this is version 1" in (
        refused(tmp_path, PluginOfAnotherVersion).message
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Tape = {}", "inherits from TargetKind"),
        ("class Tape: pass", "inherits from TargetKind"),
        (TARGET.format(api=1, module="acme_tape", kind="other"), "field 'kind'"),
        (TARGET.format(api=1, module="acme_tape", kind="tape").replace("[int,", "[bytes,"), "'reel'"),
        (TARGET.format(api=1, module="acme_tape", kind="tape").replace("[int,", "[list[str],"), "'reel'"),
        (TARGET.format(api=1, module="acme_tape", kind="tape").replace("    MADE_BY", "    MADE"), "MADE_BY"),
        (TARGET.format(api=1, module="acme_tape", kind="tape").replace("reel:", "store:"), "'store'"),
    ],
    ids=["no class", "no record", "another kind", "bytes", "a list", "no factory", "a taken name"],
)
def test_what_is_no_record_of_settings_is_named(site: Path, tmp_path: Path, text: str, why: str) -> None:
    install(site, "acme-tape", text)
    assert why in refused(tmp_path, PluginNotARecord).message


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        ("raise RuntimeError('x')", PluginNotImported),
        ("import nothing_of_that_name", PluginNotImported),
        ("return 7", PluginNotARecord),
    ],
)
def test_a_factory_that_fails_or_makes_something_else_is_told_when_it_is_used(
    site: Path, tmp_path: Path, made: str, kind: type[PluginBroken]
) -> None:
    text = TARGET.format(api=1, module="acme_tape", kind="tape").partition("def make")[0]
    install(site, "acme-tape", f"{text}\ndef make(name, own, settings):\n    {made}\n")
    settings = load(tmp_path, NAMED)
    target = adapters.target("one", settings, prepare=False)
    with pytest.raises(TargetError, match="package acme-tape ma"):
        target.stat("a")
