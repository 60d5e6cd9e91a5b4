"""The image: its size, and each role in a container that may change nothing, started and stopped clean."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.containers.podman import Podman
from tests.patience import until
from workers import names

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
WORKER, FULL = "localhost/strongroom:worker", "localhost/strongroom:full"
ROLES = (*names.QUEUES, names.BEAT, names.WATCH, names.METRICS, names.PAGE)


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    """Podman with both images."""
    made = Podman()
    made.build("ops/Dockerfile", WORKER, "--target", "worker")
    made.build("ops/Dockerfile", FULL, "--target", "full")
    yield made
    made.run("rm", "--force", "--volumes", *(f"test-{role}" for role in ROLES), check=False)


def test_a_worker_takes_less_than_300_megabytes(podman: Podman) -> None:
    assert podman.megabytes(WORKER) < 300
    assert podman.megabytes(WORKER) < podman.megabytes(FULL)


def test_the_image_says_what_it_is_and_runs_as_nobody(podman: Podman) -> None:
    (image,) = json.loads(podman.run("image", "inspect", WORKER))

    assert image["Config"]["User"] == "10001:10001"
    assert image["Labels"]["org.opencontainers.image.title"] == "Strongroom"
    assert image["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert image["Healthcheck"]["Test"] == ["CMD", "python", "-P", "-m", "workers", "--healthy"]


def test_no_layer_keeps_what_it_was_built_with(podman: Podman) -> None:
    shown = podman.run("image", "history", "--no-trunc", "--format", "{{.CreatedBy}}", WORKER)
    inside = podman.run(
        "run", "--rm", "--entrypoint", "sh", WORKER, "-c", "ls -a / /build /etc/pip.conf 2>&1", check=False
    )

    assert "://" not in shown  # the address that packages came from may have a password in it
    assert "wheels" not in inside
    assert "/etc/pip.conf: No such file" in inside.replace("'", "").replace("cannot access ", "")


def test_each_role_works_on_a_root_that_is_read_only_and_ends_when_told(podman: Podman) -> None:
    """No broker answers: each process waits for it, and is healthy."""
    confined = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    confined += ["--memory", "1g", "--pids-limit", "200", "--volume", "/var/lib/strongroom"]
    broker = "STRONGROOM_BROKER__URL=redis://127.0.0.1:1/0"
    for role in ROLES:
        image = FULL if role == names.WATCH else WORKER
        podman.run("run", "--detach", "--name", f"test-{role}", *confined, "--env", broker, image, role)
    for role in ROLES:
        until(
            lambda name=f"test-{role}": podman.succeeds("healthcheck", "run", name),  # type: ignore[misc]
            what=f"{role}, healthy",
            seconds=300,
        )
    podman.run("stop", "--time", "60", *(f"test-{role}" for role in ROLES))
    for role in ROLES:
        ended = podman.run("inspect", "--format", "{{.State.ExitCode}} {{.State.OOMKilled}}", f"test-{role}")
        assert ended == "0 false", podman.run("logs", f"test-{role}")
