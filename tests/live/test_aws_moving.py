"""Secrets that move while they are read, through a proxy in front of a live moto."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from strongroom.model import ListedSecret
from strongroom.plugins.conformance.sources import secret
from strongroom.sources import SecretChange
from strongroom.sources.aws import AwsSource
from strongroom.sources.errors import SourceChanged
from tests.live.aws_parts import everything, op
from tests.live.moto import Moto
from tests.live.proxy import (
    Call,
    FaultyProxy,
    Request,
)


@pytest.fixture
def proxy(moto: Moto) -> Iterator[FaultyProxy]:
    with FaultyProxy(moto.port) as made:
        yield made


@pytest.fixture
def source(moto: Moto, proxy: FaultyProxy) -> AwsSource:
    """Two requests at once, so that a few secrets are read in batches."""
    return AwsSource(moto.options(endpoint_url=proxy.url, in_flight=2), name="aws")


@pytest.mark.parametrize("operation", ["ListSecretVersionIds", "GetResourcePolicy", "GetSecretValue"])
def test_a_secret_that_is_written_meanwhile_is_read_as_of_one_moment(
    moto: Moto, proxy: FaultyProxy, source: AwsSource, operation: str
) -> None:
    client = moto.client()
    client.create_secret(Name="A", SecretString="CANARY-1", Tags=[{"Key": "of", "Value": "1"}])

    def write(request: Request) -> None:
        client.put_secret_value(SecretId="A", SecretString="CANARY-2")
        client.tag_resource(SecretId="A", Tags=[{"Key": "of", "Value": "2"}])

    proxy.fail(Call(write), when=op(operation))
    (found,) = source.read([ListedSecret("A", 0)])
    assert found is not None
    values = [version.value.reveal() for version in found.versions if version.value]
    assert values[-1] == f"CANARY-{found.tags['of']}".encode()
    assert len(values) == int(found.tags["of"])


def test_a_secret_that_never_rests_is_said(moto: Moto, proxy: FaultyProxy, source: AwsSource) -> None:
    client = moto.client()
    client.create_secret(Name="A", SecretString="CANARY")
    write = Call(lambda request: client.put_secret_value(SecretId="A", SecretString="CANARY"))
    proxy.fail(write, when=op("ListSecretVersionIds"), times=None)
    with pytest.raises(SourceChanged, match="'A' changed 5 times"):
        list(source.read([ListedSecret("A", 0)]))


def test_a_secret_deleted_while_it_is_read_has_vanished(moto: Moto, proxy: FaultyProxy) -> None:
    source = AwsSource(moto.options(endpoint_url=proxy.url, in_flight=1), name="aws")
    client = moto.client()
    for name in "AB":
        client.create_secret(Name=name, SecretString="CANARY")
    delete = Call(lambda request: client.delete_secret(SecretId="A", ForceDeleteWithoutRecovery=True))
    proxy.fail(delete, when=op("BatchGetSecretValue"))
    gone, there = source.read([ListedSecret("A", 0), ListedSecret("B", 0)])
    assert gone is None
    assert there is not None


def test_no_level_of_logging_shows_a_value(
    moto: Moto, source: AwsSource, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    source.write([SecretChange(secret=secret("A", "CANARY-logged"), expected=None)])
    everything(source)
    assert caplog.records
    assert "CANARY-logged" not in caplog.text
