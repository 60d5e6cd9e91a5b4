"""The written texts hold: the default file loads, the reference page has every key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec import Meta

from strongroom.config import HpkeKey, PassphraseKey, Settings
from strongroom.config.base import Section
from strongroom.config.reading import read
from strongroom.config.reference import reference_markdown
from strongroom.config.schema import Field, fields_of, models_of
from strongroom.config.text import default_config_text
from tests.config.loading import Place

HERE = Path(__file__).parent


def fields() -> list[tuple[str, Field]]:
    """Return every key of every section, each section where it comes first."""
    seen: set[type[Section]] = set()

    def of(model: type[Section], above: str) -> list[tuple[str, Field]]:
        if model in seen:
            return []
        seen.add(model)
        found = [(f"{above}{name}", field) for name, field in fields_of(model).items()]
        below = [
            item
            for name, field in fields_of(model).items()
            for inside in models_of(field.kind)
            for item in of(inside, f"{above}{name}.")
        ]
        return found + below

    return of(Settings, "")


PLAIN = [pytest.param(field, id=name) for name, field in fields() if not models_of(field.kind)]


def test_the_reference_page_has_every_key() -> None:
    page = reference_markdown()

    for name, field in fields():
        section, key = name.replace(".", r"(\.NAME)?\."), name.split(".")[-1]
        heading, row = rf"^### \[{section}(\.NAME)?\]$", rf"^\| `{key}` \| "
        told = f"{heading}|{row}table, as" if models_of(field.kind) else row
        assert re.search(told, page, re.MULTILINE), name


@pytest.mark.parametrize("field", PLAIN)
def test_every_key_is_described_with_an_example_that_is_valid(field: Field) -> None:
    assert field.description
    assert field.description.endswith(".")
    assert field.examples
    assert read(field.annotation, field.examples[0], base=HERE)[1] == []


def test_what_several_sections_have_is_described_once_in_the_code() -> None:
    described: dict[str, Meta] = {}

    for name, field in fields():
        for mark in field.marks:
            if isinstance(mark, Meta) and mark.description:
                assert described.setdefault(mark.description, mark) is mark, name


def test_the_default_file_loads_without_a_problem(place: Place) -> None:
    settings = place.load(default_config_text())

    assert settings.keys == {"recovery": PassphraseKey(kind="passphrase")}
    assert list(settings.policies) == ["daily-metadata", "weekly-critical", "monthly-full"]


def test_the_default_file_has_the_policies_of_the_procedures(place: Place) -> None:
    policies = place.load(default_config_text()).policies

    daily, weekly, monthly = policies.values()
    assert (daily.kind, daily.schedule) == ("metadata", "0 2 * * *")
    assert (weekly.kind, weekly.schedule, weekly.tags) == ("full", "0 3 * * 0", {"priority": "critical"})
    assert (monthly.kind, monthly.schedule, monthly.tags) == ("full", "0 4 1 * *", {})
    assert all(policy.minimum_retention_days >= 365 for policy in policies.values())
    assert all((policy.quorum, policy.regions) == (2, 2) for policy in policies.values())


def test_the_default_file_seals_to_a_public_key_if_given_one(place: Place) -> None:
    settings = place.load(default_config_text(public_key="srpub1:x25519:AAAA"))

    assert settings.keys == {"recovery": HpkeKey(kind="hpke", public_key="srpub1:x25519:AAAA")}


def test_the_lines_that_the_default_file_leaves_out_are_valid_too(place: Place) -> None:
    text = re.sub(r"^#(?=[a-z_]+ = |\[)", "", default_config_text(), flags=re.MULTILINE)

    settings = place.load(text)

    assert settings.targets["region-c"].region == "safe"
    assert settings.broker.password_file
    assert "mounted" in settings.sources
