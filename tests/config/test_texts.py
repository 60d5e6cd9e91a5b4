"""The written texts hold: the default file loads, the reference page has every key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec import Meta

from strongroom.config import (
    ConfigProblems,
    HpkeKey,
    PassphraseKey,
    Settings,
)
from strongroom.config.load import read
from strongroom.config.reference import reference_markdown
from strongroom.config.schema import Field, SettingsSection, fields_of, models_of
from strongroom.config.text import NOT_SAID, OwnMail, default_config_text, named, parse_source, parse_target
from tests.config.loading import Place

HERE = Path(__file__).parent


def fields() -> list[tuple[str, Field]]:
    """Return every key of every section, each section where it comes first."""
    seen: set[type[SettingsSection]] = set()

    def of(model: type[SettingsSection], above: str) -> list[tuple[str, Field]]:
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
        heading, row = rf"^### \[{section}(\.NAME)?\]$", rf"^\| `{key} = "
        told = f"{heading}|{row}.*A table, as" if models_of(field.kind) else row
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
    settings = place.load(default_config_text(keys=[{"public_key": "srpub1:x25519:AAAA"}]))

    assert settings.keys == {"recovery": HpkeKey(kind="hpke", public_key="srpub1:x25519:AAAA")}


OWN = ("eu-central-1=s3://acme-eu", "the safe=/mnt/safe", "eu=https://acme.blob.core.windows.net/backups")


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("vault:https://vault.example.org:8200", "vault"),
        ("aws:eu-central-1", "aws"),
        ("files:/run/secrets", "files"),
        ("local", "local"),
    ],
)
def test_a_file_begun_with_own_places_backs_them_up_and_loads(place: Place, word: str, name: str) -> None:
    text = default_config_text(source=parse_source(word), targets=list(map(parse_target, OWN)))

    settings = place.load(text)

    assert list(settings.sources) == [name]
    assert {policy.source for policy in settings.policies.values()} == {name}
    assert list(settings.targets) == ["eu-central-1", "the-safe", "eu"]
    assert settings.targets["the-safe"].region == "the safe"
    assert all(policy.targets == tuple(settings.targets) for policy in settings.policies.values())
    assert all((policy.quorum, policy.regions) == (2, 2) for policy in settings.policies.values())
    place.load(uncommented(text))


def test_one_target_is_enough_for_a_backup_where_there_is_one(place: Place) -> None:
    settings = place.load(default_config_text(targets=[parse_target("eu=/mnt/eu")]))

    assert all((policy.quorum, policy.regions) == (1, 1) for policy in settings.policies.values())


def test_two_targets_of_a_region_have_names_of_their_own() -> None:
    targets = named([parse_target("eu=/mnt/one"), parse_target("eu=/mnt/two")])

    assert {name: one.settings["path"] for name, one in targets.items()} == {
        "eu": "/mnt/one",
        "eu-2": "/mnt/two",
    }


@pytest.mark.parametrize(
    "word", ["", "vault:", "vault:vault.example.org", "files:here", "aws:", "local:x", "gcp:x"]
)
def test_a_source_that_is_none_is_refused_with_what_would_be_one(word: str) -> None:
    with pytest.raises(ValueError, match="has to be one of local, files:/DIR"):
        parse_source(word)


@pytest.mark.parametrize(
    "word",
    ["/mnt/eu", "=/mnt/eu", "eu=mnt", "eu=s3://", "eu=s3://b/prefix", "eu=https://acme", "eu=https://a/b/c"],
)
def test_a_target_that_is_none_is_refused_with_what_would_be_one(word: str) -> None:
    with pytest.raises(ValueError, match="has to be one of REGION=/DIR"):
        parse_target(word)


def test_the_lines_that_the_default_file_leaves_out_are_valid_too(place: Place) -> None:
    settings = place.load(uncommented(default_config_text()))

    assert settings.targets["offline"].region == "safe"
    assert settings.broker.password_file
    assert "mounted" in settings.sources


def examples(text: str) -> list[str]:
    """Return each block of the file that is an example, whole."""
    return [block for block in text.split("\n\n") if re.search(r"^#\[", block, re.MULTILINE)]


def uncommented(block: str) -> str:
    return re.sub(r"^#(?=[a-z_]+(\.[a-z]+)? = |\[)", "", block, flags=re.MULTILINE)


@pytest.mark.parametrize("block", examples(default_config_text()), ids=lambda block: block.split("]")[0])
def test_each_example_of_the_default_file_is_valid_alone(place: Place, block: str) -> None:
    text = default_config_text()
    settings = place.load(text.replace(block, uncommented(block)))
    assert {"region-a", "region-b", "region-c"} <= settings.targets.keys()


KEYS = [{"public_key": "srpub1:x25519:AAAA"}, {"public_key": "srpub1:x25519:AAEC"}]
OWN_TEXT = default_config_text(
    keys=KEYS,
    source=parse_source("vault:https://vault.example.org:8200"),
    targets=list(map(parse_target, OWN)),
    mail=OwnMail(["ops@example.org"], "smtp.example.org"),
)


@pytest.mark.parametrize("block", examples(OWN_TEXT), ids=lambda block: block.split("]")[0])
def test_each_example_of_a_file_that_was_begun_with_own_places_is_valid_alone(
    place: Place, block: str
) -> None:
    place.load(OWN_TEXT.replace(block, uncommented(block)))


def test_two_keys_are_two_recipients_and_need_no_reason(place: Place) -> None:
    settings = place.load(OWN_TEXT)
    assert list(settings.keys) == ["recovery", "recovery-2"]
    assert settings.policies["monthly-full"].recipients == ("recovery", "recovery-2")
    assert settings.policies["monthly-full"].single_recipient_reason is None
    assert settings.alerts.email == ("ops@example.org",)
    assert settings.mail.host == "smtp.example.org"


def test_what_nobody_said_of_a_single_key_is_not_put_in_a_persons_mouth(place: Place) -> None:
    reasons = {
        place.load(default_config_text(alone=alone)).policies["monthly-full"].single_recipient_reason
        for alone in (None, 'in the "bank"')
    }
    assert reasons == {NOT_SAID, 'in the "bank"'}


def test_the_example_of_a_medium_takes_no_other_target_away(place: Place) -> None:
    [emergency] = [block for block in examples(default_config_text()) if "[targets.medium]" in block]
    text = default_config_text()
    settings = place.load(text.replace(emergency, uncommented(emergency)))
    assert list(settings.targets) == ["region-a", "region-b", "region-c", "medium"]
    assert settings.online == ("region-a", "region-b", "region-c")


def test_default_targets_that_another_takes_away_are_told_so(place: Place) -> None:
    medium = '[targets.medium]\nkind = "directory"\npath = "/mnt/emergency"\nregion = "safe"\n'
    policy = '[policies.nightly]\nkind = "metadata"\ntargets = ["region-a"]\n'
    [problem] = place.problems(medium + policy)
    assert "there only while no target is named" in problem.right


def test_what_an_older_version_called_otherwise_and_what_stands_twice_is_named(place: Place) -> None:
    for text, key, what in (
        ('[policies.p]\nkind = "full"\nkeep_days = 3\n', "policies.p.keep_days", "was replaced"),
        ('[mail]\nhost = "a"\nhost = "b"\n', "host", "stands there twice"),
        ('[mail]\nhost = "a"\nhost = "b"', "host", "stands there twice"),
    ):
        with pytest.raises(ConfigProblems) as caught:
            place.load(text)
        assert (key, what) in [(one.key, one.what) for one in caught.value.problems]
