"""Metrics over HTTP: with a token and TLS; of a live cluster, also after a kill; and as a file."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from http import HTTPStatus
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from strongroom.config import load_settings
from strongroom.config.served import Served
from strongroom.errors import ConfigError
from tests.live.certificates import make_certificate
from tests.patience import PATIENCE, until
from tests.process import free_port
from tests.workers.cluster import RunningCluster
from tests.workers.serving import serving
from workers import http_server, logs, metrics_server, names, paths
from workers.http_server import AT_ONCE, Site

TOKEN = "CANARY-token"


def fetch(url: str, *, token: str = "", context: ssl.SSLContext | None = None) -> tuple[int, str]:
    request = urllib.request.Request(url)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE, context=context) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def samples(text: str) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(text)
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def here(certificate: Path | None = None, key: Path | None = None, *, port: int = 0) -> Served:
    """Return a free address of this host, or that of a port."""
    return Served(
        host="127.0.0.1",
        port=port or free_port(),
        certificate_file=certificate,
        key_file=key,
        plain=False,
        client_ca_file=None,
    )


class One(Collector):
    """A registry's only metric."""

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("metrics", "CANARY", value=1)


class Broken(Collector):
    def collect(self) -> Iterator[Metric]:
        raise ValueError("CANARY-VALUE")


def shown(collector: Collector | None = None) -> Site:
    registry = CollectorRegistry()
    registry._collector_to_names[collector or One()] = []  # without trying it
    return metrics_server.site(registry, TOKEN)


@pytest.fixture
def plain() -> Iterator[str]:
    with serving(here(), shown()) as url:
        yield url


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("/metrics", TOKEN, 200),
        ("/metrics", "", 401),
        ("/metrics", TOKEN + "x", 401),
        ("/metrics", "\udcff", 401),
        ("/other", "", 401),
        ("/other", TOKEN, 404),
        ("/healthcheck", "", 200),
    ],
)
def test_metrics_are_given_to_whoever_has_the_token(plain: str, path: str, token: str, status: int) -> None:
    token = token.encode("utf-8", "surrogateescape").decode("latin-1")
    assert fetch(plain + path, token=token)[0] == status


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "ODD"])
def test_nothing_but_a_question_is_answered(plain: str, method: str) -> None:
    request = urllib.request.Request(plain + "/metrics", method=method)
    request.add_header("Authorization", f"Bearer {TOKEN}")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=PATIENCE)
    with refused.value as error:
        assert error.code == HTTPStatus.METHOD_NOT_ALLOWED


def test_they_come_compressed_in_the_form_and_of_the_names_that_are_asked_for(plain: str) -> None:
    request = urllib.request.Request(plain + "/metrics")
    request.add_header("Authorization", f"Bearer {TOKEN}")
    request.add_header("Accept", "application/openmetrics-text; version=1.0.0")
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert answer.read().endswith(b"# EOF\n")
    assert fetch(plain + "/metrics?name[]=another", token=TOKEN) == (200, "")


def where(plain: str) -> tuple[str, int]:
    return "127.0.0.1", int(plain.rpartition(":")[2])


@pytest.mark.parametrize("role", [names.METRICS, names.PAGE])
def test_it_ends_when_it_is_asked_to_also_as_the_first_process_of_a_container(
    tmp_path: Path, role: str
) -> None:
    """A first process that handles no SIGTERM does not get one, so here an exit status tells that it does."""
    port, log = free_port(), tmp_path / "log"
    listens = {f"STRONGROOM_{role.upper()}__PORT": str(port), "STRONGROOM_STATE_DIR": str(tmp_path / "state")}
    with log.open("wb") as errors:
        served = subprocess.Popen(
            [sys.executable, "-P", "-m", "workers", role], env=os.environ | listens, stderr=errors
        )
    try:
        until(lambda: _answers(port), what="its answer")
        served.send_signal(signal.SIGTERM)
        assert served.wait(PATIENCE) == 0, log.read_text()
    finally:
        served.kill()
        served.wait()


def _answers(port: int) -> bool:
    with suppress(OSError):
        return fetch(f"http://127.0.0.1:{port}/healthcheck")[0] == 200
    return False


STRANGERS = {
    "one that everybody comes from, as behind a proxy": ["127.0.0.1"],
    "five": [f"127.0.0.{number}" for number in range(2, 7)],
    "as many as connections": [f"127.0.1.{number}" for number in range(1, 2 * AT_ONCE + 1)],
}


@pytest.mark.parametrize("addresses", STRANGERS.values(), ids=STRANGERS)
@pytest.mark.parametrize("sent", [b"", b"GET /metr", b"POST /x HTTP/1.1\r\nContent-Length: 100\r\n\r\nx"])
def test_connections_that_rest_keep_nobody_out(plain: str, addresses: list[str], sent: bytes) -> None:
    """Whatever they have sent, from however many addresses, and while they go on to come."""
    with ExitStack() as resting:
        for number in range(2 * AT_ONCE):
            source = (addresses[number % len(addresses)], 0)
            slow = resting.enter_context(socket.create_connection(where(plain), source_address=source))
            with suppress(OSError):  # it was closed already, for one that came after it
                slow.sendall(sent)
            if number % 16 == 0 or number == 2 * AT_ONCE - 1:
                assert fetch(plain + "/metrics", token=TOKEN)[0] == 200


def is_cut_off(url: str, sent: bytes) -> bool:
    """Send something, and tell whether the server ends the connection, before or after it came there."""
    with socket.create_connection(where(url)) as slow:
        slow.settimeout(PATIENCE)
        try:
            slow.sendall(sent)
            return slow.recv(1) == b""
        except (BrokenPipeError, ConnectionResetError):
            return True


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_client_that_sends_a_byte_now_and_then_is_cut_off(
    encrypted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "PATIENCE", 0.1)
    monkeypatch.setattr(http_server, "ALTOGETHER", 3600.0)
    certificate, key = make_certificate(tmp_path)
    settings = here(certificate, key) if encrypted else here()
    with serving(settings, shown()) as url:
        assert is_cut_off(url, b"\x16\x03\x01" if encrypted else b"GET /metr")


@pytest.mark.parametrize(
    "sent", [b"GET /metr", b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nx"]
)
def test_a_client_that_takes_its_whole_time_is_cut_off(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "PATIENCE", 3600.0)  # for each part of its request
    monkeypatch.setattr(http_server, "ALTOGETHER", 0.1)
    with serving(here(), shown()) as url:
        assert is_cut_off(url, sent)


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nX: " + b"x" * http_server.LONGEST_HEAD,
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (http_server.LONGEST_BODY + 1),
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nCANARY-no-colon\r\n\r\n",
        b"CANARY\r\n\r\n",
    ],
)
def test_what_is_too_long_or_no_request_is_ended_without_a_word_of_it_in_the_log(
    sent: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "PATIENCE", 3600.0)  # or it would be ended for the time that it takes
    monkeypatch.setattr(http_server, "ALTOGETHER", 3600.0)
    for name, level in logs.QUIETER.items():
        caplog.set_level(level, name)
    with serving(here(), shown()) as url:
        with socket.create_connection(where(url)) as odd:
            odd.settimeout(PATIENCE)
            odd.sendall(sent)
            with suppress(ConnectionResetError):
                assert odd.recv(12) in (b"HTTP/1.1 400", b"")
        assert fetch(url + "/healthcheck")[0] == HTTPStatus.OK
    assert "CANARY" not in caplog.text


def test_one_request_is_answered_on_a_connection(plain: str) -> None:
    with socket.create_connection(where(plain)) as kept:
        kept.settimeout(PATIENCE)
        kept.sendall(b"GET /healthcheck HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        answer = b"".join(iter(partial(kept.recv, 1000), b""))
    assert answer.count(b"200 OK") == 1


def test_a_fault_is_told_in_words_and_by_its_class_alone(caplog: pytest.LogCaptureFixture) -> None:
    with serving(here(), shown(Broken())) as url:
        status, words = fetch(url + "/metrics?CANARY-VALUE", token=TOKEN)
    assert (status, words) == (500, "The metrics could not be gathered; see the log.\n")
    assert "CANARY" not in caplog.text
    assert [(line.getMessage(), vars(line)["why"]) for line in caplog.records] == [
        ("not-answered", "ValueError")
    ]


def test_tls_is_served_and_a_renewed_certificate_is_taken_on(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with serving(here(certificate, key), shown()) as url:
        for _ in range(2):
            context = ssl.create_default_context(cafile=str(certificate))
            assert fetch(url + "/metrics", token=TOKEN, context=context)[0] == HTTPStatus.OK
            make_certificate(tmp_path)
        old = ssl.create_default_context(cafile=str(certificate))
        certificate.write_text("half a renewal")
        with pytest.raises(urllib.error.URLError):  # that of the start is served on: this one knows another
            fetch(url + "/metrics", token=TOKEN, context=old)


def test_tls_is_1_2_or_more(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    context = ssl.create_default_context(cafile=str(certificate))
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with serving(here(certificate, key), shown()) as url, pytest.raises(urllib.error.URLError, match="SSL"):
        fetch(url + "/healthcheck", context=context)


def test_an_address_in_use_and_a_certificate_without_key_are_refused_in_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=r"cannot listen on 127\.0\.0\.1:\d+: Address already in use"):
            serving(here(port=port), shown()).__enter__()
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    with pytest.raises(ConfigError, match=r"listen\.certificate_file .*broken\.pem"):
        serving(here(broken), shown()).__enter__()


def test_the_token_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    settings = load_settings({"STRONGROOM_STATE_DIR": str(tmp_path)})
    first = metrics_server.token(settings)
    file = paths.run_folder(tmp_path) / metrics_server.GENERATED
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert metrics_server.token(settings) == first
    file.write_text("\n")
    with pytest.raises(ConfigError, match=r"metrics\.token_file .*: is empty"):
        metrics_server.token(settings)


def test_a_cluster_tells_of_each_of_its_processes_and_of_one_that_was_killed(tmp_path: Path) -> None:
    cluster = RunningCluster(tmp_path / "state", "--metrics", "control", "transfer")
    url = f"http://127.0.0.1:{cluster.metrics_port}/metrics"
    token = paths.run_folder(cluster.state_dir) / metrics_server.GENERATED

    def scraped() -> dict[tuple[str, ...], float]:
        try:
            return samples(fetch(url, token=token.read_text().strip())[1])
        except OSError:
            return {}

    try:
        cluster.start()
        until(lambda: ("strongroom_beat_seen_timestamp_seconds",) in scraped(), what="beat on record")
        assert ("strongroom_targets_checked_timestamp_seconds",) not in scraped(), (
            "a cluster that starts is left alone"
        )
        seen = scraped()
        for name in ("broker", "control", "transfer", "beat", "metrics"):
            assert seen["strongroom_process_up", name] == 1
            assert seen["strongroom_process_starts_total", name] == 1
            assert seen["strongroom_process_resident_memory_bytes", name] > 1_000_000
        killed = cluster.pid("transfer")
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        until(lambda: scraped().get(("strongroom_process_starts_total", "transfer")) == 2, what="its restart")
        assert scraped()["strongroom_process_up", "transfer"] == 1
    finally:
        cluster.close()
