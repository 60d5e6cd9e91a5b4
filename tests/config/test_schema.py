"""The JSON Schema says of a file what the settings say of it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from strongroom.config.load import read
from strongroom.config.model import Settings
from strongroom.config.reference import json_schema
from strongroom.config.schema import fields_of
from strongroom.config.text import default_config_text
from tests.cli.program import ROOT
from tests.config.test_problems import BY_ITSELF, TOGETHER
from tests.config.test_settings import EXAMPLE


@pytest.fixture(scope="module")
def schema() -> Draft202012Validator:
    Draft202012Validator.check_schema(json_schema())
    return Draft202012Validator(json_schema())


def problems(schema: Draft202012Validator, raw: Any) -> list[str]:
    return [f"{error.json_path}: {error.message[:200]}" for error in schema.iter_errors(raw)]


def examples() -> dict[str, str]:
    """Return every configuration that the documents and the deployment files show."""
    found = {"as init writes it": default_config_text(), "of the settings' own test": EXAMPLE}
    # What is commented out in it is an example too.
    found["all that init shows"] = re.sub(
        r"^#(?=\[|[a-z0-9_.-]+ = )", "", default_config_text(), flags=re.MULTILINE
    )
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for number, text in enumerate(
            re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        ):
            found[f"{page.relative_to(ROOT)} {number}"] = text
    for file in sorted(Path(ROOT, "ops").rglob("*.toml")):
        found[str(file.relative_to(ROOT))] = file.read_text()
    return found


@pytest.mark.parametrize("text", examples().values(), ids=examples())
def test_every_example_is_valid(schema: Draft202012Validator, text: str) -> None:
    assert problems(schema, tomllib.loads(text)) == []


UNSEEN = {
    "whole fraction for a number": "2.0 is an integer to JSON Schema",
    "rate that is no number": "JSON has no such number",
    "number of thousands of digits in hexadecimal": "Python does not print it",
    "size beyond 64 bits": "of a text it sees no number",
    "too small a container": "of a text it sees no number",
    "no size": "of a text it sees no number",
    "path with a NUL": "of a path it sees no form",
    "path in the home of nobody": "of a path it sees no form",
    "rate beyond all numbers": "no number of JSON is too large",
    "address with a bracket left open": "of an address it sees the beginning",
    "name that ends a line": "whose pattern is matched to the end of the line",
}
CASES = {name: text for name, (text, *_) in (BY_ITSELF | TOGETHER).items() if name not in UNSEEN}
ADDRESS = ("address", "endpoint_url", "host", "url", "account_url")
"""Of an address it sees neither the port nor whether it is on this host."""


@pytest.mark.parametrize("text", CASES.values(), ids=CASES)
def test_it_refuses_what_the_settings_refuse_by_itself(schema: Draft202012Validator, text: str) -> None:
    raw = tomllib.loads(text)
    _, wrong = read(Settings, {"state_dir": "/state"} | raw, base=Path("/"))
    if wrong and all(each.path[-1] in ADDRESS for each in wrong):
        return
    assert bool(problems(schema, raw)) == bool(wrong), (problems(schema, raw), wrong)


def test_the_sections_that_it_describes_are_those_that_are_read(schema: Draft202012Validator) -> None:
    assert set(json_schema()["properties"]) == set(fields_of(Settings))
