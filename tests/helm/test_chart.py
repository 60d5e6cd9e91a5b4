"""The chart of ``ops/helm`` renders, by Helm itself, to what Kubernetes takes and pod security allows."""

from __future__ import annotations

import copy
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import yaml

from strongroom.config import load_settings
from strongroom.schedule import next_slot
from tests.helm.chart import (
    CHART,
    NEWEST,
    ON_THIS,
    OPERATORS,
    RULES,
    ChartRefused,
    Document,
    containers,
    faults,
    lint,
    of_kind,
    package,
    pods,
    render,
    unconfined,
)
from tests.process import ROOT
from workers import environment, names

pytestmark = ON_THIS
CONFIG: Final = """
# A comment with ümlaut.
[targets.eu]
kind = "directory"
path = "/targets/eu"
region = "eu"

[policies.nightly]
kind = "metadata"
targets = ["eu"]
quorum = 1
schedule = "0 2 * * *"
"""
"""Any configuration will do here: one that is checked elsewhere."""

DEFAULTS: Final = {"config": CONFIG}
EVERYTHING: Final[dict[str, Any]] = {
    "config": CONFIG,
    "files": {"ca.pem": "-----BEGIN CERTIFICATE-----\nAA\n", "recovery.pub": "srpub1:x"},
    "image": {"repository": "registry.example.org/strongroom", "digest": f"sha256:{'a' * 64}"},
    "imagePullSecrets": ["registry"],
    "secrets": ["redis", "postgres"],
    "settings": {
        "BROKER__URL": "rediss://redis:6379/0",
        "BROKER__PASSWORD_FILE": "/run/secrets/redis/password",
    },
    "networkPolicy": {
        "to": {
            "source": [{"to": [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "openbao"}}}]}],
            "keys": [{"to": [{"ipBlock": {"cidr": "10.1.2.3/32"}}], "ports": [{"port": 8200}]}],
            "people": [{"ports": [{"port": 587}]}],
        },
        "from": {"page": [{"podSelector": {}}], "metrics": [{"namespaceSelector": {}}]},
    },
    "vault": {"audience": "openbao", "tokenSeconds": 900},
    "listen": {"tlsSecret": "served"},
    "pools": {
        "seal": {
            "replicas": 3,
            "concurrency": 4,
            "secret": "our-seal-keys",
            "secrets": ["bao"],
            "settings": {"BROKER__URL": "rediss://ROLE-of-ours@redis:6379/0"},
            "serviceAccountAnnotations": {
                "eks.amazonaws.com/role-arn": "arn:aws:iam::123456789012:role/seal"
            },
            "egress": [{"ports": [{"port": 4318}]}],
            "scratch": "20Gi",
            "stopSeconds": 300,
        }
    },
    "page": {
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "host": "backups.example.org",
            "tlsSecret": "world",
        },
    },
    "metrics": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    },
    "outside": {"volume": "2Gi", "storageClass": "fast"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "backup", "operator": "Exists"}],
    "priorityClassName": "important",
    "podLabels": {"team": "platform"},
    "podAnnotations": {"example.org/scan": "yes"},
}
OUTSIDE: Final = {**yaml.safe_load((CHART / "values-outside.yaml").read_text()), "config": CONFIG}
OPENSHIFT: Final = {"config": CONFIG, "user": None, "networkPolicy": {"enabled": False}}
SETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "defaults": DEFAULTS,
    "everything": EVERYTHING,
    "outside": OUTSIDE,
    "openshift": OPENSHIFT,
}


@pytest.fixture(params=list(SETS))
def documents(request: pytest.FixtureRequest) -> list[Document]:
    return render(SETS[request.param])


def test_helm_finds_nothing_wrong() -> None:
    assert [said for values in SETS.values() for said in lint(values)] == []


def test_kubernetes_knows_every_field(documents: list[Document]) -> None:
    assert faults(documents) == []


def test_every_pod_is_restricted(documents: list[Document]) -> None:
    assert {role: found for role, pod in pods(documents).items() if (found := unconfined(pod))} == {}


def test_names_are_names_and_no_two_are_one(documents: list[Document]) -> None:
    found = [(doc["kind"], doc["metadata"]["name"]) for doc in documents]
    assert len(set(found)) == len(found)
    assert all(re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?", name) for _, name in found)


def test_a_long_name_of_a_release_is_cut_to_what_kubernetes_allows() -> None:
    longest = "a" * 53
    assert all(len(doc["metadata"]["name"]) <= 52 for doc in render(DEFAULTS, name=longest))


# -- A tool that finds it broken when it is broken ----------------------------------------------


def _first(documents: list[Document], kind: str) -> Document:
    return next(doc for doc in documents if doc["kind"] == kind)


BREAKS: Final[Mapping[str, Callable[[list[Document]], object]]] = {
    "a field that there is not": lambda d: _first(d, "Deployment")["spec"].update(replica=1),
    "a container's that there is not": lambda d: containers(pods(d)["seal"])[0].update(imag="x"),
    "text for a number": lambda d: _first(d, "Deployment")["spec"].update(replicas="two"),
    "no selector": lambda d: _first(d, "Deployment")["spec"].pop("selector"),
    "no containers": lambda d: pods(d)["seal"].pop("containers"),
    "a rule that there is not": lambda d: _first(d, "NetworkPolicy")["spec"].update(ingres=[]),
    "a probe without a port": lambda d: pods(d)["page"]["containers"][0]["livenessProbe"].update(httpGet={}),
    "no schedule": lambda d: _first(d, "CronJob")["spec"].pop("schedule"),
    "a port that is no number": lambda d: _first(d, "Service")["spec"]["ports"][0].update(port="http"),
}


@pytest.mark.parametrize("broken", BREAKS)
def test_what_is_broken_is_found(broken: str) -> None:
    documents = copy.deepcopy(render(DEFAULTS))
    BREAKS[broken](documents)
    [changed] = [doc for doc, whole in zip(documents, render(DEFAULTS), strict=True) if doc != whole]
    assert len(faults([changed])) == 2, "the oldest and the newest Kubernetes"


OPENINGS: Final[Mapping[str, Callable[[Document, Document], object]]] = {
    "shares the host": lambda pod, _: pod.update(hostNetwork=True),
    "a volume of a forbidden kind": lambda pod, _: pod["volumes"].append(
        {"name": "x", "hostPath": {"path": "/"}}
    ),
    "a token of the service account": lambda pod, _: pod.pop("automountServiceAccountToken"),
    "variables of services": lambda pod, _: pod.pop("enableServiceLinks"),
    "more than one user": lambda _, own: own.update(runAsUser=10002),
    "privileged": lambda _, own: own.update(privileged=True),
    "may become root": lambda pod, _: pod["securityContext"].pop("runAsNonRoot"),
    "may gain rights": lambda _, own: own.pop("allowPrivilegeEscalation"),
    "has capabilities": lambda _, own: own["capabilities"].update(add=["NET_ADMIN"]),
    "any system call": lambda pod, _: pod["securityContext"].pop("seccompProfile"),
    "a port of the host": lambda pod, _: pod["containers"][0].update(ports=[{"hostPort": 80}]),
    "a writable image": lambda _, own: own.update(readOnlyRootFilesystem=False),
    "no limit of memory": lambda pod, _: pod["containers"][0]["resources"].pop("limits"),
}


@pytest.mark.parametrize("opening", OPENINGS)
def test_a_pod_that_may_more_is_found(opening: str) -> None:
    pod = copy.deepcopy(pods(render(DEFAULTS))["seal"])
    OPENINGS[opening](pod, containers(pod)[0]["securityContext"])
    assert opening in " ".join(unconfined(pod))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "config is empty: give the text of strongroom.toml"),
        ({"imag": {}}, "'imag' not allowed"),
        ({"pools": {"seal": {"replica": 2}}}, "'replica' not allowed"),
        ({"pools": {"sael": {}}}, "'sael' not allowed"),
        ({"pools": {"seal": {"replicas": -1}}}, "/pools/seal/replicas"),
        ({"image": {"digest": "sha256:1"}}, "/image/digest"),
        ({"settings": {"BROKER_URL": "redis://redis"}}, "BROKER_URL"),
        ({"secrets": ["role"]}, "/secrets/0"),
        ({"files": {"strongroom.toml": "x"}}, "strongroom.toml"),
        ({"outside": {"schedule": "hourly"}}, "/outside/schedule"),
        ({"networkPolicy": {"to": {"vault": []}}}, "'vault' not allowed"),
        ({"page": {"ingress": {"enabled": True}}}, "needs listen.tlsSecret or listen.plain"),
        (
            {"listen": {"plain": True}, "page": {"ingress": {"enabled": True, "host": "x"}}},
            "tlsSecret is empty",
        ),
        ({"page": {"act": "yes"}}, "/page/act"),
        ({"config": f"{CONFIG}[page]\nact = true\n"}, "set page.act, so that the page has its key"),
        ({"metrics": {"serviceMonitor": {"enabled": True}}}, "needs listen.tlsSecret or listen.plain"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ChartRefused, match=re.escape(said)):
        render({**(DEFAULTS if values else {}), **values})


# -- What runs, with which rights ---------------------------------------------------------------


def test_every_role_has_its_deployment_and_recover_is_normally_stopped() -> None:
    deployments = of_kind(render(DEFAULTS), "Deployment")
    assert {name.removeprefix("strongroom-") for name in deployments} == {
        *names.QUEUES, names.BEAT, names.METRICS, names.PAGE, "shell",
    }  # fmt: skip
    stopped = [name for name, doc in deployments.items() if doc["spec"]["replicas"] == 0]
    assert stopped == ["strongroom-recover", "strongroom-shell"]
    found = pods([*deployments.values()])
    assert "args" not in found.pop("shell")["containers"][0]
    assert all(pod["containers"][0]["args"] == [role] for role, pod in found.items())


def test_a_value_that_is_given_reaches_what_it_is_for() -> None:
    found = pods(render(EVERYTHING))
    [seal] = found["seal"]["containers"]
    variables = {variable["name"]: variable["value"] for variable in seal["env"]}
    assert seal["image"] == f"registry.example.org/strongroom@sha256:{'a' * 64}"
    assert variables["STRONGROOM_WORKERS__SEAL"] == "4"
    assert variables["STRONGROOM_BROKER__URL"] == "rediss://seal-of-ours@redis:6379/0", (
        "its own comes before that of all"
    )
    assert variables["STRONGROOM_BROKER__PASSWORD_FILE"] == "/run/secrets/redis/password"
    assert found["seal"]["terminationGracePeriodSeconds"] == 300
    assert found["control"]["terminationGracePeriodSeconds"] == 60, "as long as compose and systemd give"
    [token] = [v["projected"]["sources"] for v in found["seal"]["volumes"] if v["name"] == "vault"]
    assert token == [
        {"serviceAccountToken": {"path": "jwt", "audience": "openbao", "expirationSeconds": 900}}
    ]


def test_a_pod_has_the_secret_of_its_own_role_and_no_other() -> None:
    for values in (DEFAULTS, EVERYTHING):
        for role, pod in pods(render(values)).items():
            given = f"strongroom-{'submit' if role == 'shell' else role}"
            if values is EVERYTHING and role == "seal":
                given = "our-seal-keys"
            keyless = role in {names.PAGE, names.METRICS, "outside"}
            [own] = [v["secret"] for v in pod["volumes"] if v["name"] == "role"]
            assert own == {"secretName": given, "defaultMode": 0o444, "optional": keyless}


def test_a_secret_comes_by_file_to_who_is_given_it_and_into_no_variable() -> None:
    found = pods(render(EVERYTHING))
    mounted = {
        role: {v["secret"]["secretName"] for v in pod["volumes"] if v["name"].startswith("secret-")}
        for role, pod in found.items()
    }
    assert mounted["seal"] == {"redis", "postgres", "bao"}
    assert mounted["page"] == {"redis", "postgres", "served"}
    assert mounted["metrics"] == {"redis", "postgres", "served"}
    assert all(mounted[role] == {"redis", "postgres"} for role in set(found) - {"seal", "page", "metrics"})
    for pod in found.values():
        assert all("value" in v and "valueFrom" not in v for c in containers(pod) for v in c.get("env", []))
        assert not any("envFrom" in container for container in containers(pod))


def test_every_mount_is_of_a_volume_and_every_volume_is_mounted(documents: list[Document]) -> None:
    for role, pod in pods(documents).items():
        mounted = {mount["name"] for c in containers(pod) for mount in c["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}, role


def test_each_process_has_an_account_of_its_own_without_a_token_for_the_cluster() -> None:
    documents = render(EVERYTHING)
    accounts = of_kind(documents, "ServiceAccount")
    assert {pod["serviceAccountName"] for pod in pods(documents).values()} == set(accounts)
    assert len(accounts) == len(pods(documents))
    assert not any(account["automountServiceAccountToken"] for account in accounts.values())
    assert [name for name, account in accounts.items() if "annotations" in account["metadata"]] == [
        "strongroom-seal"
    ]


def test_a_pod_reaches_what_its_role_needs() -> None:
    kinds = ("dns", "broker", "state", "source", "targets", "keys", "people")
    rule = {kind: {"ports": [{"port": number}]} for number, kind in enumerate(kinds, 1)}
    documents = render({**DEFAULTS, "networkPolicy": {"to": {kind: [rule[kind]] for kind in kinds}}})
    policies = of_kind(documents, "NetworkPolicy")
    everything = policies.pop("strongroom")["spec"]
    assert not {"egress", "ingress"} & set(everything)
    assert everything["policyTypes"] == ["Ingress", "Egress"]
    reached = {
        name.removeprefix("strongroom-"): {
            kinds[one["ports"][0]["port"] - 1] for one in doc["spec"]["egress"]
        }
        for name, doc in policies.items()
    }

    def those(kind: str) -> set[str]:
        return {role for role, reaching in reached.items() if kind in reaching}

    assert those("dns") == those("state") == set(reached) == set(pods(documents))
    assert those("broker") == {*names.QUEUES, names.BEAT, "shell"}
    assert those("source") == environment.READERS
    assert those("targets") == environment.WRITERS | {"outside", "shell"}
    assert those("keys") == environment.OPENERS
    assert those("people") == {names.CONTROL, "outside"}
    assert not any("ingress" in doc["spec"] for doc in policies.values())


@pytest.mark.parametrize("acts", [False, True])
def test_the_page_has_a_key_and_a_way_to_the_broker_only_where_people_may_act_on_it(acts: bool) -> None:
    broker = {"ports": [{"port": 6379}]}
    documents = render(
        {
            "config": f"{CONFIG}\n[page]\nact = true # as the chart\n" if acts else CONFIG,
            "networkPolicy": {"to": {"broker": [broker]}},
            "page": {"act": acts, "settings": {"PAGE__ACT": not acts}},
        }
    )
    pod = pods(documents)["page"]
    policy = of_kind(documents, "NetworkPolicy")["strongroom-page"]["spec"]
    [own] = [volume["secret"] for volume in pod["volumes"] if volume["name"] == "role"]
    variables = {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]}
    script = pod["initContainers"][0]["command"][2]

    assert variables["STRONGROOM_PAGE__ACT"] == str(acts).lower()
    assert (broker in policy["egress"]) == acts
    assert own == {"secretName": "strongroom-page", "defaultMode": 0o444, "optional": not acts}
    assert any(volume["name"] == "keys" for volume in pod["volumes"]) == acts
    assert ("/secret/role/page.key" in script) == acts
    assert "work.key" not in script, "it reads no stage"
    assert unconfined(pod) == []
    assert faults(documents) == []


def test_only_what_is_served_can_be_reached_by_those_who_are_named() -> None:
    policies = of_kind(render(EVERYTHING), "NetworkPolicy")
    entered = {name: doc["spec"]["ingress"] for name, doc in policies.items() if "ingress" in doc["spec"]}
    port = [{"port": "http", "protocol": "TCP"}]
    assert entered == {
        "strongroom-page": [{"ports": port, "from": [{"podSelector": {}}]}],
        "strongroom-metrics": [{"ports": port, "from": [{"namespaceSelector": {}}]}],
    }


def test_nothing_is_served_to_others_without_tls_unless_that_is_asked_for() -> None:
    def served(**values: Any) -> set[tuple[str, str]]:
        pod = pods(render({**DEFAULTS, **values}))["page"]["containers"][0]
        variables = {variable["name"]: variable["value"] for variable in pod["env"]}
        probe = pod["readinessProbe"]
        asked = probe["httpGet"]["scheme"] if "httpGet" in probe else "inside"
        return {(variables.get("STRONGROOM_LISTEN__HOST", "itself"), asked)}

    assert served() == {("itself", "inside")}
    assert served(listen={"tlsSecret": "served"}) == {("0.0.0.0", "HTTPS")}
    assert served(listen={"plain": True}) == {("0.0.0.0", "HTTP")}


@pytest.mark.parametrize(
    "values", [DEFAULTS, {**EVERYTHING, "listen": {"plain": True}}], ids=["defaults", "everything"]
)
def test_every_process_takes_the_configuration_that_was_given(values: Any, tmp_path: Path) -> None:
    documents = render(values)
    [map_] = of_kind(documents, "ConfigMap").values()
    beside = {name: text.rstrip() + "\n" for name, text in values.get("files", {}).items()}
    assert map_["data"] == {"strongroom.toml": CONFIG, **beside}
    file = tmp_path / "strongroom.toml"
    file.write_text(map_["data"]["strongroom.toml"])
    for role, pod in pods(documents).items():
        variables = {v["name"]: v["value"] for v in pod["containers"][0]["env"]}
        settings = load_settings({**variables, "STRONGROOM_STATE_DIR": str(tmp_path)}, file)
        if role in names.QUEUES:
            assert getattr(settings.workers, role) == int(variables[f"STRONGROOM_WORKERS__{role.upper()}"])


@pytest.mark.parametrize(
    "text", ["a = 1", "  a = 1\n\n\n", 'x = """\n  #: {{ .Values }}\n"""\n', "# ümlaut\na = 'b'\n"]
)
def test_any_text_of_a_configuration_arrives_as_it_is(text: str) -> None:
    [map_] = of_kind(render({"config": text}), "ConfigMap").values()
    assert map_["data"]["strongroom.toml"] == text.rstrip("\n") + "\n"


def test_another_configuration_is_another_pod() -> None:
    def template(text: str) -> str:
        return json.dumps(of_kind(render({"config": text}), "Deployment")["strongroom-seal"]["spec"])

    assert template("a = 1") == template("a = 1") != template("a = 2")


# -- Beside it ----------------------------------------------------------------------------------


def test_the_look_from_outside_is_what_cron_and_systemd_do() -> None:
    cron = (ROOT / "ops" / "cron" / "strongroom-alerts").read_text().splitlines()[-1].split()
    documents = render(OUTSIDE)
    [job] = of_kind(documents, "CronJob").values()
    [claim] = of_kind(documents, "PersistentVolumeClaim").values()
    assert " ".join(cron[:5]) == job["spec"]["schedule"]
    assert next_slot(job["spec"]["schedule"], 0.0, "UTC") == 1800.0
    assert set(pods(documents)) == {"outside"}, "no other process is needed"
    pod = pods(documents)["outside"]
    [container] = pod["containers"]
    assert (Path(cron[6]).name, *cron[7:]) == (*container["command"], "--quiet", ">/dev/null")
    [kept] = [v["persistentVolumeClaim"] for v in pod["volumes"] if v["name"] == "state"]
    assert kept["claimName"] == claim["metadata"]["name"]


def test_prometheus_gets_the_rules_that_are_tested() -> None:
    found = [doc for doc in render(EVERYTHING) if doc["apiVersion"] == OPERATORS]
    assert {doc["kind"] for doc in found} == {"PrometheusRule", "ServiceMonitor"}
    [rules] = [doc["spec"] for doc in found if doc["kind"] == "PrometheusRule"]
    assert rules == yaml.safe_load(RULES.read_text())
    [endpoint] = next(doc["spec"]["endpoints"] for doc in found if doc["kind"] == "ServiceMonitor")
    assert endpoint["scheme"] == "https"
    assert endpoint["authorization"] == {"credentials": {"name": "strongroom-metrics", "key": "token"}}
    assert endpoint["tlsConfig"]["serverName"] == "strongroom-metrics.backup.svc"


def test_a_packed_chart_has_everything_that_it_needs(tmp_path: Path) -> None:
    with tarfile.open(package(tmp_path)) as archive:
        packed = {member.name: member for member in archive.getmembers()}
    assert all(member.isfile() for member in packed.values())
    assert packed["strongroom/files/strongroom.rules.yml"].size == RULES.stat().st_size
    sources = {path.relative_to(CHART).as_posix() for path in CHART.rglob("*") if path.is_file()}
    assert {name.removeprefix("strongroom/") for name in packed} == sources


# -- The values, each explained once ------------------------------------------------------------


def _schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    return found


def _explained(schema: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, below in schema.get("properties", {}).items():
        if "description" in below:
            yield f"{path}{name}", below["description"]
        yield from _explained(below, f"{path}{name}.")


def _comments() -> Iterator[tuple[str, str]]:
    path: list[str] = []
    comment: list[str] = []
    for line in (CHART / "values.yaml").read_text().splitlines():
        words = line.strip()
        if words.startswith("#"):
            comment.append(words.lstrip("# "))
            continue
        if found := re.match(r"( *)(\w+):", line):
            path = [*path[: len(found[1]) // 2], found[2]]
            if comment:
                yield ".".join(path), " ".join(comment)
        comment = []


def test_a_value_is_explained_above_its_line_as_in_the_schema() -> None:
    comments, explained = dict(_comments()), dict(_explained(_schema()))
    comments |= {f"pools.control.{name}": "" for name in ("replicas", "concurrency", "resources")}
    assert {path: said for path, said in comments.items() if said} == {
        path: said for path, said in explained.items() if path != "global"
    }


def test_every_value_that_there_is_stands_in_the_schema_with_its_words() -> None:
    schema = _schema()
    shared = schema["$defs"]["process"]["properties"] | schema["$defs"]["pool"]["properties"]
    assert all("description" in what for name, what in schema["$defs"]["process"]["properties"].items())
    explained = dict(_explained(schema))

    def leaves(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
        for name, value in values.items():
            if isinstance(value, dict) and value and name not in {"resources", "outside"} | set(explained):
                yield from leaves(value, f"{path}{name}.")
            else:
                yield f"{path}{name}"

    unexplained = [
        leaf
        for leaf in leaves(yaml.safe_load((CHART / "values.yaml").read_text()))
        if leaf not in explained and leaf.rpartition(".")[2] not in shared
    ]
    assert unexplained == []


def test_the_newest_kubernetes_is_the_newest_that_is_known() -> None:
    assert kubernetes_validate.latest_version().startswith(NEWEST)
