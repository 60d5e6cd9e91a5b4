"""The list of what is installed with the package says what the lock says, in CycloneDX's own terms."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from scripts import sbom
from strongroom import __version__

VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(sbom.FILE.read_text())
    return found


def test_it_is_not_stale() -> None:
    assert sbom.FILE.read_text() == sbom.text(), "run python scripts/sbom.py"


def test_it_is_valid(document: dict[str, Any]) -> None:
    assert VALIDATOR.validate_str(json.dumps(document)) is None


def _without_a_type(document: dict[str, Any]) -> None:
    del document["components"][0]["type"]


def _with_a_short_hash(document: dict[str, Any]) -> None:
    document["components"][0]["hashes"][0]["content"] = "abc"


def _with_a_word_of_its_own(document: dict[str, Any]) -> None:
    document["packages"] = []


def _with_a_twin(document: dict[str, Any]) -> None:
    document["components"].append(document["components"][0])


@pytest.mark.parametrize(
    "breaks", [_without_a_type, _with_a_short_hash, _with_a_word_of_its_own, _with_a_twin]
)
def test_the_tool_that_says_so_finds_a_broken_one(
    document: dict[str, Any], breaks: Callable[[dict[str, Any]], None]
) -> None:
    broken = copy.deepcopy(document)
    breaks(broken)
    assert VALIDATOR.validate_str(json.dumps(broken)) is not None


def test_it_has_every_pin_that_runs_with_its_hashes_and_nothing_else(document: dict[str, Any]) -> None:
    locked = sbom.pins(sbom.LOCK.read_text())
    listed = {component["name"]: component for component in document["components"]}
    assert {name: component["version"] for name, component in listed.items()} == {
        name: locked[name].version for name in listed
    }
    assert all(
        sorted(locked[name].hashes) == [each["content"] for each in component["hashes"]]
        for name, component in listed.items()
    )
    assert (
        locked.keys() - listed.keys()
        == {"hatchling", "packaging", "pathspec", "pluggy", "tomlkit", "trove-classifiers"} - listed.keys()
    ), "only what builds the package"


def test_each_dependency_is_a_component_and_each_component_is_needed(document: dict[str, Any]) -> None:
    refs = {component["bom-ref"] for component in document["components"]}
    needs = {entry["ref"]: set(entry["dependsOn"]) for entry in document["dependencies"]}
    assert set.union(*needs.values()) <= refs
    assert needs.keys() - {"strongroom"} <= refs
    assert document["metadata"]["component"]["version"] == __version__
    optional = {component["name"] for component in document["components"] if component["scope"] == "optional"}
    assert {"boto3", "hvac", "flower"} <= optional
    assert not {"cryptography", "celery", "msgspec"} & optional
