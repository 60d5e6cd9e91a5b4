"""The chart under ``ops/helm``, rendered by Helm itself, and what Kubernetes would refuse of it.

Helm is a library of Go, which starts threads and takes signals, so it has a process of its own.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import kubernetes_validate.utils
import pytest
import yaml

from tests.process import ROOT, ends_with_this

CHART: Final = ROOT / "ops" / "helm" / "strongroom"
RULES: Final = ROOT / "ops" / "prometheus" / "strongroom.rules.yml"
NAMESPACE: Final = "backup"
OLDEST: Final = "1.27"
NEWEST: Final = "1.37"
OPERATORS: Final = "monitoring.coreos.com/v1"
"""The kinds of the Prometheus operator, which Kubernetes itself does not know."""

Document = dict[str, Any]

ON_THIS: Final = [
    pytest.mark.platform,
    pytest.mark.skipif(
        (sys.platform, platform.machine()) != ("linux", "x86_64"),
        reason="Helm's library is for Linux on x86-64",
    ),
]


class ChartRefused(Exception):
    """Helm would not render these values."""


def render(values: Mapping[str, Any], *, name: str = "strongroom") -> list[Document]:
    """Return what ``helm install NAME`` would send to the cluster. Raises ChartRefused."""
    texts = _helm(
        json.dumps(
            {"do": "render", "chart": str(CHART), "namespace": NAMESPACE, "values": values, "name": name},
            sort_keys=True,
        )
    )
    found = [doc for path, text in sorted(texts.items()) if path.endswith(".yaml") for doc in _all(text)]
    return [doc for doc in found if doc]


def lint(values: Mapping[str, Any]) -> list[str]:
    """Return what ``helm lint --strict`` says of more than taste."""
    report = _helm(json.dumps({"do": "lint", "chart": str(CHART), "values": values}))
    return [message["error"] for message in report["messages"] if message["severity"] > 1] + report["errors"]


def package(folder: Path) -> Path:
    """Return the archive that ``helm package`` makes."""
    return Path(_helm(json.dumps({"do": "package", "chart": str(CHART), "folder": str(folder)}))["archive"])


@cache
def _process() -> subprocess.Popen[str]:
    words = [*ends_with_this(), sys.executable, str(Path(__file__).with_name("rendering.py"))]
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@cache
def _helm(request: str) -> dict[str, Any]:
    process = _process()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(request + "\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    if "refused" in answer:
        raise ChartRefused(answer["refused"])
    return answer


def _all(text: str) -> Iterator[Document]:
    yield from yaml.safe_load_all(text)


def of_kind(documents: list[Document], kind: str) -> dict[str, Document]:
    """Return the documents of a kind, by name."""
    return {doc["metadata"]["name"]: doc for doc in documents if doc["kind"] == kind}


def pods(documents: list[Document]) -> dict[str, Document]:
    """Return the specification of every pod that these would start, by its role."""
    found = {}
    for doc in documents:
        spec = doc.get("spec", {})
        template = spec.get("template") or spec.get("jobTemplate", {}).get("spec", {}).get("template")
        if template:
            found[template["metadata"]["labels"]["app.kubernetes.io/component"]] = template["spec"]
    return found


def containers(pod: Document) -> list[Document]:
    """Return all containers of a pod, those that begin it too."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def faults(documents: list[Document]) -> list[str]:
    """Return what the oldest and the newest Kubernetes would refuse: unknown fields, too."""
    return [
        f"{doc['kind']} {doc['metadata']['name']}, {version}: {error.message}"
        for doc in documents
        if doc["apiVersion"] != OPERATORS
        for version in (OLDEST, NEWEST)
        for error in _refusals(doc, version)
    ]


def _refusals(doc: Document, version: str) -> Iterator[kubernetes_validate.ValidationError]:
    try:
        kubernetes_validate.validate(doc, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        yield error


# Each call would read the megabyte of definitions anew.
kubernetes_validate.utils.schema_contents = cache(kubernetes_validate.utils.schema_contents)


VOLUMES: Final = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected",
    "secret",
}  # fmt: skip


def unconfined(pod: Document) -> list[str]:
    """Return what the pod security standard "restricted" forbids of a pod, and what this chart adds to it."""
    found = [
        f"pod: {what}"
        for what, wrong in {
            "shares the host": any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")),
            "a volume of a forbidden kind": any(not (set(v) - {"name"}) <= VOLUMES for v in pod["volumes"]),
            "a token of the service account that every container reads": pod.get(
                "automountServiceAccountToken", True
            ),
            "variables of services, which look like settings": pod.get("enableServiceLinks", True),
            "more than one user": any("runAsUser" in c.get("securityContext", {}) for c in containers(pod)),
        }.items()
        if wrong
    ]
    whole = pod.get("securityContext", {})
    for container in containers(pod):
        own = container.get("securityContext", {})
        capabilities = own.get("capabilities", {})
        both = {**whole, **own}
        rules = {
            "privileged": own.get("privileged", False),
            "may become root": both.get("runAsNonRoot") is not True or both.get("runAsUser") == 0,
            "may gain rights": own.get("allowPrivilegeEscalation") is not False,
            "has capabilities": capabilities.get("drop") != ["ALL"] or bool(capabilities.get("add")),
            "any system call": both.get("seccompProfile", {}).get("type")
            not in {"RuntimeDefault", "Localhost"},
            "a port of the host": any("hostPort" in port for port in container.get("ports", [])),
            "a writable image": own.get("readOnlyRootFilesystem") is not True,
            "no limit of memory": "memory" not in container.get("resources", {}).get("limits", {}),
        }
        found += [f"{container['name']}: {what}" for what, wrong in rules.items() if wrong]
    return found
