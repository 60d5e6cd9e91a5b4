"""What of Secrets Manager needs no server: numbers, tags, limits, settings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from strongroom.config import AwsSourceSettings as AwsSettings
from strongroom.errors import ConfigError, SourceError
from strongroom.model import Media, RotationSchedule, Secret, SecretVersion, VersionState
from strongroom.plugins.conformance.sources import secret, versions
from strongroom.sources.aws import AwsOptions, AwsSource, restore_seconds
from strongroom.sources.aws.client import AwsLosses
from strongroom.sources.aws.secrets import (
    CURRENT,
    ListedVersion,
    in_order,
    meaning_of,
    media_of,
    numbered,
    own_id,
    tags_for,
)
from strongroom.sources.aws.writing import check
from strongroom.wiring import adapters
from tests.config.loading import Place

UUIDS = [f"00000000-0000-0000-0000-{number:012}" for number in range(5)]


def test_what_is_current_is_last_whatever_its_age() -> None:
    held = [
        ListedVersion(UUIDS[0], (CURRENT,), "2026-01-01T00:00:00.000Z"),
        ListedVersion(UUIDS[1], (), "2026-03-01T00:00:00.000Z"),
        ListedVersion(UUIDS[2], ("AWSPENDING",), "2026-02-01T00:00:00.000Z"),
    ]
    assert [version.id for version in in_order(held)] == [UUIDS[2], UUIDS[1], UUIDS[0]]


def test_an_id_of_our_own_says_number_and_media() -> None:
    ids = [
        own_id("A", number, media) for number, media in ((2, Media.TEXT), (7, Media.JSON), (30, Media.BINARY))
    ]
    assert numbered(ids) == [2, 7, 30]
    assert [media_of(id_) for id_ in ids] == [Media.TEXT, Media.JSON, Media.BINARY]
    assert all(32 <= len(id_) <= 64 for id_ in ids)
    assert media_of(UUIDS[0]) is None


def test_ids_differ_by_name_number_and_salt() -> None:
    made = {
        own_id(name, number, Media.TEXT, salt=salt) for name in "AB" for number in (1, 2) for salt in "xy"
    }
    assert len(made) == 8


@given(
    st.lists(
        st.integers(1, 2**53).map(lambda number: own_id("A", number, Media.TEXT)) | st.sampled_from(UUIDS)
    )
)
def test_numbers_always_ascend(ids: list[str]) -> None:
    numbers = numbered(ids)
    assert numbers == sorted(set(numbers))
    assert all(number >= 1 for number in numbers)


TAG_WORDS = st.sampled_from(["", "true", "false", "generic", "api_key", "30", "030", "2027-01-01", "soon"])
TAG_KEYS = st.sampled_from(
    [
        "team",
        "type",
        *(f"strongroom:{word}" for word in ("type", "expires_at", "rotation_days", "rotation_enabled")),
    ]
)


@given(st.dictionaries(TAG_KEYS, TAG_WORDS))
def test_every_tag_comes_back_letter_for_letter(tags: dict[str, str]) -> None:
    meaning = meaning_of(tags)
    held = replace(
        secret("A"),
        tags=meaning.rest,
        type=meaning.type,
        expires_at=meaning.expires_at,
        rotation=meaning.rotation,
    )
    assert tags_for(held, rotation=held.rotation) == tags


def test_tags_mean_type_expiry_and_rotation() -> None:
    meaning = meaning_of(
        {
            "strongroom:type": "api_key",
            "strongroom:expires_at": "2027-01-01",
            "strongroom:rotation_days": "30",
            "strongroom:rotation_enabled": "false",
            "team": "blue",
        }
    )
    assert (meaning.type, meaning.expires_at, meaning.rest) == ("api_key", "2027-01-01", {"team": "blue"})
    assert meaning.rotation == RotationSchedule(days=30, enabled=False)


@dataclass(frozen=True)
class Refused:
    secret: Secret
    why: str


@pytest.mark.parametrize(
    "refused",
    [
        Refused(secret("A", ""), "has 0 bytes; Secrets Manager holds 1 to 65,536"),
        Refused(secret("A", "x" * 65_537), "has 65,537 bytes"),
        Refused(secret("prod/ü"), "cannot be the name"),
        Refused(secret("a" * 513), "cannot be the name"),
        Refused(secret("A", b"CANARY\xff"), "is called text and is not UTF-8"),
        Refused(
            Secret(name="A", versions=(*versions(1), SecretVersion(number=2, state=VersionState.DELETED))),
            "an older one would come to life",
        ),
        Refused(
            Secret(name="A", versions=(SecretVersion(number=1, state=VersionState.DESTROYED),)),
            "has no version with a value to write",
        ),
    ],
)
def test_what_the_service_cannot_hold_is_refused_before_anything_is_sent(refused: Refused) -> None:
    with pytest.raises(SourceError, match=refused.why) as caught:
        check(refused.secret)
    assert "Nothing of this batch was written" in caught.value.hint
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"region": ""}, "a region is needed"),
        ({"endpoint_url": "http://10.0.0.1"}, "has to be https"),
        ({"endpoint_url": "ftp://aws"}, "http"),
        ({"endpoint_url": "https://me:secret@aws"}, "must not hold credentials"),
        ({"requests_per_second": 0}, "above 0"),
        ({"recovery_days": 3}, "7 to 30"),
        ({"in_flight": 0}, "at least 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        AwsOptions(**({"region": "eu-central-1"} | options))  # type: ignore[arg-type]


def test_making_a_source_touches_nothing() -> None:
    source = AwsSource(AwsOptions(region="eu-central-1", endpoint_url="http://127.0.0.1:1"), name="aws")
    assert source.name == "aws"
    assert any("scheduled for deletion" in line for line in source.not_contained())


def test_the_slowest_quota_decides_how_long_a_restore_takes() -> None:
    """At 50 a second each, but for what we allow ourselves in all."""
    assert restore_seconds(1_000, 1_000) == 20
    assert restore_seconds(1_000, 1_000, requests_per_second=10) == 305
    assert restore_seconds(100, 10_100) == 200


def test_losses_are_counted_and_the_first_are_named() -> None:
    losses = AwsLosses()
    for number in range(7):
        losses.add("lost", f"s{number}")
    losses.add("also", "t")
    assert losses.lines() == ("also: 1 (t)", "lost: 7 (s0, s1, s2, s3, s4, …)")


CONFIGURED = {
    "region": "eu-north-1",
    "endpoint_url": "https://vpce.example.org",
    "profile": "backup",
    "credentials_file": Path("/etc/strongroom/aws"),
    "ca_file": Path("/etc/strongroom/ca.pem"),
    "requests_per_second": 7,
    "kms_key_id": "alias/secrets",
    "resource_policies": False,
    "rearm_rotation": True,
}


def test_every_setting_of_a_source_reaches_it(tmp_path: Path) -> None:
    assert CONFIGURED.keys() == set(AwsSettings.__struct_fields__) - {"kind", "destination"}
    lines = [f"{key} = {json.dumps(value, default=str)}" for key, value in CONFIGURED.items()]
    settings = Place(tmp_path).load("\n".join(["[sources.aws]", 'kind = "aws"', *lines]))
    made = adapters.destination("aws", settings)
    assert isinstance(made, AwsSource)
    options = msgspec.structs.asdict(made._api.options)
    assert {key: options[key] for key in CONFIGURED} == CONFIGURED
    assert options["pace_file"] == settings.state_dir / "aws.pace"
