"""The files that deploy the exchange agree with each other, with the code, and with real tools.

A test that needs a tool skips without it: `pip install -e '.[deploy]'`, kustomize, and
promtool from Debian's package `prometheus`. The others always run.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.registry import CollectorRegistry

from ops import dashboards, env
from ops.__main__ import COMMANDS
from workers.machine import machine_metrics
from workers.metrics import Metrics

ROOT = Path(__file__).parents[2]
K8S = ROOT / "ops" / "k8s"
PROMETHEUS = ROOT / "ops" / "prometheus"
RUNBOOK = (ROOT / "ops" / "docs" / "RUNBOOK.md").read_text(encoding="utf-8")

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
APP_JSON = json.loads((ROOT / "app.json").read_text())
PROCFILE = dict(
    line.split(": ", 1) for line in (ROOT / "Procfile").read_text().splitlines() if line
)
# Those that platforms do not run beside the others.
ONCE = {"release"}
LOOKED_UP = {
    "dependency_up": {"dependency"},
    "current_orderbook_depth": {"instrument", "side"},
    "matcher_lease_held": {"instrument"},
    "stream_lag_entries": {"instrument"},
    "job_overdue_seconds": {"job"},
    "job_failures_in_a_row": {"job"},
    "mirror_lag_seconds": {"instrument"},
}
# What Prometheus adds to every sample.
TARGET = {"job", "instance"}
SETTINGS = {variable.name for variable in env.variables()}


def tool(name: str) -> str:
    """Return the path of a program, or skip."""
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    found = shutil.which(name, path=places)
    if found is None:
        pytest.skip(f"{name} is not here, see the top of this file")
    return found


def check(*command: str | Path, cwd: Path = ROOT) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def documents() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the Kubernetes resources, by kind and name."""
    found = {}
    for name in kustomization()["resources"]:
        for document in yaml.safe_load_all((K8S / name).read_text()):
            found[document["kind"], document["metadata"]["name"]] = document
    return found


def kustomization() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((K8S / "kustomization.yaml").read_text())
    return content


def pods() -> dict[str, dict[str, Any]]:
    return {
        name: document["spec"]["template"]["spec"]
        for (kind, name), document in documents().items()
        if kind in ("Deployment", "Job")
    }


def words(command: str) -> list[str]:
    """Return a command of the Procfile without the variables set before it."""
    return command[command.index("python") :].split()


# What runs.


@pytest.mark.parametrize("name", PROCFILE)
def test_a_process_is_the_same_everywhere(name: str) -> None:
    assert SERVICES[name]["command"] == words(PROCFILE[name])
    (container,) = pods()[name]["containers"]
    assert container["command"] == words(PROCFILE[name])
    assert name in ONCE or name in APP_JSON["formation"]


def test_settings_are_known() -> None:
    compose = set(chain(*(SERVICES[name].get("environment", ()) for name in pods())))
    config_map = set(documents()["ConfigMap", "exchange"]["data"])
    of_pods = {
        variable["name"]
        for pod in pods().values()
        for variable in pod["containers"][0].get("env", ())
    }
    assert compose | config_map | of_pods | set(APP_JSON["env"]) <= SETTINGS


def test_documents_name_what_exists() -> None:
    """Links, variables and commands of DEPLOY.md and the runbook."""
    for name in ("DEPLOY.md", "RUNBOOK.md"):
        text = (ROOT / "ops" / "docs" / name).read_text(encoding="utf-8")
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            assert (ROOT / "ops" / "docs" / link).exists(), link
        variables = re.findall(r"`((?:EXCHANGE|REDIS|DATABASE|WEB|KAFKA)_[A-Z_]+)", text)
        assert set(variables) <= SETTINGS
        assert set(re.findall(r"python -m ops (\w+)", text)) <= set(COMMANDS)


# The image.


def dockerfile() -> str:
    return (ROOT / "ops" / "Dockerfile").read_text()


def test_the_image_takes_what_is_there_and_is_not_root() -> None:
    instructions = [
        line.split() for line in dockerfile().splitlines() if re.match(r"[A-Z]+ ", line)
    ]
    copied = {
        source
        for word, *rest in instructions
        if word == "COPY" and not rest[0].startswith("--from")
        for source in rest[:-1]
    }
    assert all((ROOT / source).exists() for source in copied)
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert all(f"!{Path(source).parts[0]}" in allowed for source in copied)
    assert allowed[1] == "*"
    assert {"api", "workers", "sql", "alembic", "ops", "pyproject.toml"} <= copied
    assert [rest for word, *rest in instructions if word == "USER"] == [["10001:10001"]]
    assert any(word == "HEALTHCHECK" for word, *_ in instructions)
    bases = [rest[0] for word, *rest in instructions if word == "FROM"]
    assert len(bases) == 2
    assert all(re.fullmatch(r"python:3\.\d+-slim-\w+", base) for base in bases)


def test_hadolint() -> None:
    check(tool("hadolint"), "ops/Dockerfile")


# Compose.


@pytest.mark.parametrize(
    "profiles", [set(), {"app"}, {"kafka"}, {"metrics"}, {"app", "mirror", "metrics"}]
)
def test_profiles_have_all_that_they_start_after(profiles: set[str]) -> None:
    started = {
        name
        for name, service in SERVICES.items()
        if not service.get("profiles") or profiles & set(service["profiles"])
    }
    for name in started:
        for other, how in SERVICES[name].get("depends_on", {}).items():
            assert other in started
            if how["condition"] == "service_healthy":
                assert "test" in SERVICES[other]["healthcheck"]
    if not profiles:
        assert started == {"postgres", "valkey"}


def test_nothing_is_published_beyond_this_machine() -> None:
    published = {
        name: port for name, service in SERVICES.items() for port in service.get("ports", ())
    }
    assert all(port.startswith("127.0.0.1:") for port in published.values())
    assert published.keys() == {"postgres", "valkey", "web", "kafka", "grafana"}


def test_servers_keep_what_they_are_given() -> None:
    """PostgreSQL 18's image wants its volume one level up from where older ones had it."""
    assert SERVICES["postgres"]["image"] == "postgres:18"
    assert SERVICES["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]
    valkey = " ".join(SERVICES["valkey"]["command"])
    assert "--appendonly yes" in valkey
    assert "--maxmemory-policy noeviction" in valkey
    volumes = [v for s in SERVICES.values() for v in s.get("volumes", ())]
    named = {volume.split(":")[0] for volume in volumes if not volume.startswith("./")}
    assert named == set(COMPOSE["volumes"])
    bound = {volume.split(":")[0] for volume in volumes if volume.startswith("./")}
    assert all((ROOT / path).is_dir() for path in bound)


def test_kafka_is_reached_from_here_and_from_containers() -> None:
    broker = SERVICES["kafka"]["environment"]
    names = [entry.split("://")[0] for entry in broker["KAFKA_LISTENERS"].split(",")]
    protocols = dict(
        entry.split(":") for entry in broker["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")
    )
    advertised = dict(
        entry.split("://") for entry in broker["KAFKA_ADVERTISED_LISTENERS"].split(",")
    )
    assert set(names) == set(protocols)
    assert advertised.keys() == set(names) - {broker["KAFKA_CONTROLLER_LISTENER_NAMES"]}
    assert broker["KAFKA_INTER_BROKER_LISTENER_NAME"] in advertised
    assert set(advertised.values()) == {"127.0.0.1:9092", "kafka:9094"}


def test_images_are_of_a_version() -> None:
    for service in SERVICES.values():
        if service["image"] != "trade-engine":
            assert re.search(r":v?\d", service["image"]), service["image"]


def test_compose_specification() -> None:
    compose_spec = pytest.importorskip("compose_spec", reason="see the top of this file")
    # As compose sees it: anchors and merges are resolved before.
    compose = compose_spec.PyCompose.from_json(json.dumps(COMPOSE))
    compose.validate()
    compose.to_spec()
    assert set(compose.service_names()) == set(SERVICES)


# Kubernetes.


def test_every_manifest_is_listed() -> None:
    files = {path.name for path in K8S.glob("*.yaml")} - {"kustomization.yaml"}
    assert files == set(kustomization()["resources"])


@pytest.mark.parametrize("name", pods())
def test_pods_are_restricted(name: str) -> None:
    """As the namespace's `restricted` level of pod security demands, and a little more."""
    pod = pods()[name]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"requests", "limits"} == set(container["resources"])
    assert (container["envFrom"]) == [
        {"configMapRef": {"name": "exchange"}},
        {"secretRef": {"name": "exchange"}},
    ]
    assert name == "release" or "livenessProbe" in container
    ports = {port["name"] for port in container.get("ports", ())}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        if probe in container:
            assert container[probe]["httpGet"]["port"] in ports


def test_selectors_select() -> None:
    found = documents()
    for (kind, name), document in found.items():
        if kind == "Deployment":
            labels = document["spec"]["template"]["metadata"]["labels"]
            assert document["spec"]["selector"]["matchLabels"] == labels
        elif kind == "PodDisruptionBudget":
            labels = found["Deployment", name]["spec"]["template"]["metadata"]["labels"]
            assert document["spec"]["selector"]["matchLabels"] == labels
    web = found["Deployment", "web"]["spec"]["template"]
    assert found["Service", "web"]["spec"]["selector"] == web["metadata"]["labels"]
    assert found["HorizontalPodAutoscaler", "web"]["spec"]["scaleTargetRef"]["name"] == "web"
    assert "replicas" not in found["Deployment", "web"]["spec"]  # the autoscaler's
    assert found["Deployment", "matcher"]["spec"]["replicas"] >= 2  # one of them stands by
    (container,) = web["spec"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"


@pytest.mark.parametrize("name", kustomization()["resources"])
def test_kubernetes_schemas(name: str) -> None:
    validate = pytest.importorskip("kubernetes_validate", reason="see the top of this file")
    for document in yaml.safe_load_all((K8S / name).read_text()):
        validate.validate(document, "1.33", strict=True)


def test_kustomize() -> None:
    check(tool("kustomize"), "build", "ops/k8s")


# Prometheus and Grafana.


def known_metrics() -> dict[str, set[str]]:
    """Return the names that samples have, each with its labels."""
    registry: CollectorRegistry = Metrics().registry
    known: dict[str, set[str]] = {"up": set()}
    for family in registry.collect():
        metric: Any = registry._names_to_collectors[family.name]
        labels = set(metric._labelnames)
        match family.type:
            case "counter":
                known[f"{family.name}_total"] = labels
            case "histogram":
                known[f"{family.name}_bucket"] = labels | {"le"}
                known |= {f"{family.name}_sum": labels, f"{family.name}_count": labels}
            case _:
                known[family.name] = labels
    # What the web process looks up when it is asked.
    text = (ROOT / "api" / "metrics.py").read_text()
    for name, labels in LOOKED_UP.items():
        assert f'"{name}"' in text
        known[name] = labels
    known |= {metric.name: set() for metric in machine_metrics()}
    return known


FUNCTIONS = {
    "sum", "min", "max", "by", "rate", "increase", "histogram_quantile", "or", "and", "unless",
    "offset",
}  # fmt: skip


def read(expression: str) -> tuple[set[str], set[str]]:
    """Return the metrics and the labels that an expression names."""
    labels = set(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"', expression))
    labels |= {
        label.strip()
        for group in re.findall(r"\bby\s*\(([^)]*)\)", expression)
        for label in group.split(",")
    }
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]|\bby\s*\([^)]*\)", " ", expression)
    names = set(re.findall(r"(?<![\w.])[a-z_][a-z0-9_]*", re.sub(r"\b\d+[smhd]\b", " ", bare)))
    return names - FUNCTIONS, labels


def alerts() -> dict[str, dict[str, Any]]:
    (group,) = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def queries() -> list[str]:
    drawn = [
        target["expr"]
        for name in dashboards.DASHBOARDS
        for panel in json.loads(dashboards.dashboard(name))["panels"]
        for target in panel["targets"]
    ]
    return [rule["expr"] for rule in alerts().values()] + drawn


@pytest.mark.parametrize("expression", queries())
def test_what_is_asked_for_exists(expression: str) -> None:
    known = known_metrics()
    names, labels = read(expression)
    assert names
    assert names <= known.keys()
    assert labels <= TARGET.union(*(known[name] for name in names))


def test_an_unknown_metric_would_be_noticed() -> None:
    names, labels = read('sum by (le, colour) (rate(no_such_total{a="x"}[5m])) / 2 > 0.5')
    assert names == {"no_such_total"}
    assert labels == {"le", "colour", "a"}


@pytest.mark.parametrize("name", alerts())
def test_alerts_say_what_to_do(name: str) -> None:
    rule = alerts()[name]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["runbook"] == f"ops/docs/RUNBOOK.md#{name.lower()}"
    assert f"\n## {name}\n" in RUNBOOK


def test_the_runbook_has_no_alert_that_does_not_exist() -> None:
    assert set(re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)) == set(alerts())


@pytest.mark.parametrize("name", dashboards.DASHBOARDS)
def test_dashboards_are_what_their_tables_say(name: str) -> None:
    path = dashboards.FOLDER / f"{name}.json"
    assert path.read_text(encoding="utf-8") == dashboards.dashboard(name), (
        "python -m ops dashboards"
    )
    panels = json.loads(path.read_text())["panels"]
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(panels)
    assert {panel["datasource"]["uid"] for panel in panels} == {"prometheus"}


def test_prometheus_asks_where_the_services_listen() -> None:
    scraped = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    for config in scraped:
        (discovery,) = config["dns_sd_configs"]
        for name in discovery["names"]:
            port = SERVICES[name].get("environment", {}).get("METRICS_PORT", "3000")
            assert int(port) == discovery["port"]
    names = {name for config in scraped for name in config["dns_sd_configs"][0]["names"]}
    # All that run, with the one that stands by.
    assert names == set(pods()) - ONCE | {"matcher-standby"}


@pytest.mark.parametrize(
    "words",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "alerts.yml"),
        ("test", "rules", "alerts_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool(words: tuple[str, ...]) -> None:
    check(tool("promtool"), *words, cwd=PROMETHEUS)
