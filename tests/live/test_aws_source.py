"""Secrets Manager against the suites, on a live moto."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from strongroom.errors import ConfigError, SourceError
from strongroom.model import Secret
from strongroom.plugins.conformance.sources import RICH, SECRETS, DestinationConformance, secret
from strongroom.sources import Destination
from strongroom.sources.aws import AwsSource
from tests.live.aws_account import OTHER_REGION
from tests.live.moto import REGION, Moto

ADDED = "aws"


class TestAwsSource(DestinationConformance):
    """What no version can be (empty, or named with an umlaut) is another here; refusals have tests below."""

    secrets = (secret("EMPTY", "CANARY-not-empty"), *(held for held in SECRETS if held.name != "EMPTY"))
    rich = replace(RICH, name="prod/db/password")
    many = 120  # a page has 100
    largest = 65_536

    @pytest.fixture
    def destination(self, moto: Moto) -> Destination:
        return AwsSource(moto.options(recovery_days=None), name="aws")

    def kept(self, held: Secret) -> Secret:
        """Everything but versions without a value, times, and metadata that has no place."""
        return replace(
            held,
            versions=tuple(replace(v, created_at=None) for v in held.versions if v.value is not None),
            created_at=None,
            updated_at=None,
            metadata={key: value for key, value in held.metadata.items() if key == "description"},
        )

    def seen(self, found: Secret) -> Secret:
        assert found.created_at
        assert found.metadata[ADDED]["arn"].startswith("arn:aws:secretsmanager:eu-central-1:")
        return replace(
            found,
            versions=tuple(replace(v, created_at=None) for v in found.versions),
            created_at=None,
            updated_at=None,
            metadata={key: value for key, value in found.metadata.items() if key != ADDED},
        )


def test_a_rate_is_shared_through_a_file_that_need_not_be_there(moto: Moto, tmp_path: Path) -> None:
    pace = tmp_path / "state" / "aws.pace"
    source = AwsSource(moto.options(requests_per_second=1_000, pace_file=pace), name="aws")
    assert list(source.list()) == []
    assert pace.stat().st_mode & 0o777 == 0o600


def test_a_rate_that_cannot_be_shared_is_said(moto: Moto, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    options = moto.options(requests_per_second=1_000, pace_file=tmp_path / "state" / "aws.pace")
    with pytest.raises(SourceError, match=r"aws\.pace', through which processes share a rate"):
        list(AwsSource(options, name="aws").list())


def test_a_region_that_holds_replicas_is_read(moto: Moto) -> None:
    """A replica's resource policy is its primary's, and not to be had where it is."""
    client = moto.client()
    client.create_secret(Name="A", SecretString="CANARY", AddReplicaRegions=[{"Region": OTHER_REGION}])
    client.put_resource_policy(SecretId="A", ResourcePolicy="{}")
    source = AwsSource(moto.options(region=OTHER_REGION), name="aws")
    (found,) = source.read(list(source.list()))
    assert found is not None
    assert found.current.value is not None
    assert found.current.value.reveal() == b"CANARY"
    assert found.metadata[ADDED]["primary_region"] == REGION


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"profile": "CANARY"}, "no profile 'CANARY'"),
        ({"region": "eu central"}, "'eu central' cannot be a region"),
    ],
)
def test_settings_that_the_sdk_does_not_take_are_said(
    moto: Moto, settings: dict[str, str], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        list(AwsSource(moto.options(**settings), name="aws").list())


def test_without_credentials_it_is_said_what_to_do(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(SourceError, match="no usable credentials") as caught:
        list(AwsSource(moto.options(), name="aws").list())
    assert "Renew the credentials" in caught.value.hint
