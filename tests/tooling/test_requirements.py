"""The locks, the project's metadata and the list of dependencies say the same."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from strongroom.system import lazy

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("base", "apprise", "dev")
ALL = ("aws", "azure", "flower", "gcs", "hsm", "oidc", "postgres", "sentry", "sftp", "vault")
EXTRAS = {"base": ALL, "apprise": (*ALL, "apprise"), "dev": (*ALL, "apprise", "dev")}
PIN = re.compile(r"^(?P<name>[a-z0-9.-]+)==(?P<version>[^ ;\\]+)(?: ; [^\\]+)? \\$")


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def wanted(lock: str) -> list[Requirement]:
    found = project()["project"]
    extras = [line for extra in EXTRAS[lock] for line in found["optional-dependencies"][extra]]
    return [
        Requirement(line)
        for line in [*found["dependencies"], *extras, *project()["build-system"]["requires"]]
    ]


def lock_lines(lock: str) -> list[str]:
    lines = (ROOT / "requirements" / f"{lock}.lock").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pins(lock: str) -> dict[str, str]:
    found = [PIN.match(line) for line in lock_lines(lock) if not line.startswith(" ")]
    assert all(found), "a line that is no pin"
    return {match["name"]: match["version"] for match in found if match}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_requirement_is_pinned_to_a_version_that_it_allows(lock: str) -> None:
    pinned = pins(lock)
    off = [r for r in wanted(lock) if not r.specifier.contains(pinned.get(canonicalize_name(r.name), "0"))]
    assert off == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes_of_sha256(lock: str) -> None:
    lines = lock_lines(lock)
    after = [second for first, second in pairwise(lines) if PIN.match(first)]
    assert len(after) == len(pins(lock))
    assert all(re.fullmatch(r" {4}--hash=sha256:[0-9a-f]{64}(?: \\)?", line) for line in after)


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_index_no_path_and_no_option(lock: str) -> None:
    told = [line for line in lock_lines(lock) if not PIN.match(line)]
    assert [line for line in told if not line.startswith("    --hash=sha256:")] == []


@pytest.mark.parametrize("lock", ["base", "apprise"])
def test_all_locks_pin_the_same_versions(lock: str) -> None:
    pinned, dev = pins(lock), pins("dev")
    assert {name: dev.get(name) for name in pinned} == pinned


def test_the_lock_knows_the_build_backend_because_the_project_is_built_without_isolation() -> None:
    also = (ROOT / "requirements" / "also.in").read_text().splitlines()
    assert set(project()["build-system"]["requires"]) <= set(also)


@pytest.mark.parametrize("lock", LOCKS)
def test_what_only_some_pythons_need_is_locked_whichever_python_resolved(lock: str) -> None:
    also = (ROOT / "requirements" / "also.in").read_text().splitlines()
    needed = {Requirement(line).name for line in also if line and not line.startswith("#")}
    assert needed <= set(pins(lock))


def test_every_dependency_is_explained() -> None:
    text = (ROOT / "docs" / "explanation" / "dependencies.md").read_text()
    listed = re.findall(r"^\| (\w[\w-]*)(?:\[\w+\])? \|", text, re.MULTILINE)
    explained = {canonicalize_name(name) for name in listed} - {"package"}
    assert explained == {canonicalize_name(requirement.name) for requirement in wanted("dev")}


def test_the_versions_in_the_list_of_dependencies_are_the_locked_ones() -> None:
    text = (ROOT / "docs" / "explanation" / "dependencies.md").read_text()
    rows = re.findall(r"^\| ([A-Za-z0-9-]+)(?:\[\w+\])? \| ([0-9][^ ]*) \|", text, re.MULTILINE)
    pinned = pins("dev")
    assert {canonicalize_name(name): version for name, version in rows} == {
        canonicalize_name(name): pinned[canonicalize_name(name)] for name, _ in rows
    }


def test_all_is_every_extra_but_the_developers_and_apprise_and_each_is_named_when_it_lacks() -> None:
    extras = project()["project"]["optional-dependencies"]
    assert extras["all"] == [f"strongroom[{','.join(ALL)}]"]
    assert set(extras) == {*ALL, "all", "apprise", "dev"}
    assert set(lazy.EXTRAS.values()) == {*ALL, "apprise"}
    locker = (ROOT / "scripts" / "lock").read_text()
    assert f'all="{" ".join(f"--extra {extra}" for extra in ALL)}"' in locker
