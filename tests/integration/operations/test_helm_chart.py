"""The chart as Helm renders it: objects that Kubernetes takes, settings that exist, one of everything for each role."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.operations.metrics import PROCESSES
from deploy.operations.roles import ROLES, group_id
from deploy.settings import Settings, secret_settings
from tests.support.helm import helm, kubernetes_errors

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy/helm/throughline"
STORES = {
    "settings.kafka_bootstrap": "kafka:9092",
    "settings.redis_url": "redis://valkey:6379/0",
    "settings.clickhouse_url": "http://clickhouse:8123",
}
EVERYTHING = {
    **STORES,
    "settings.topic_prefix": "shop-",
    "settings.kafka_security_protocol": "SASL_SSL",
    "settings.kafka_sasl_mechanism": "SCRAM-SHA-512",
    "settings.kafka_sasl_username": "throughline",
    "secret.keys": "{identity_secret,clickhouse_password,redis_password,kafka_sasl_password}",
    "secret.collectorKeys": "{write_keys,hook_secrets}",
    "secret.deliverKeys": "{smtp_url,webhook_secret}",
    "autoscaling.authentication": "kafka",
    "autoscaling.tls": "true",
    "collector.ingress.enabled": "true",
    "collector.ingress.className": "nginx",
    "collector.ingress.host": "events.shop.example",
    "collector.ingress.tlsSecret": "certificate",
    "collector.ingress.annotations.size": "5m",
    "console.enabled": "true",
    "export.enabled": "true",
    "console.publicUrl": "https://console.shop.example",
    "networkPolicy.storesTo[0].ipBlock.cidr": "10.0.0.0/8",
    "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.name": "monitoring",
    "image.digest": "sha256:" + "0" * 64,
    "image.pullSecrets": "{registry}",
    "serviceAccountName": "throughline",
    "podAnnotations.team": "data",
    "nodeSelector.disk": "ssd",
    "tolerations[0].key": "data",
}
BY_HAND = {**STORES, "autoscaling.enabled": "false", "networkPolicy.enabled": "false", "migration.enabled": "false"}

LISTS = ("_KEYS_FILE", "_SECRETS_FILE", "_TOKENS_FILE")
"""Secrets that are lists of name=value."""

Objects = list[dict[str, Any]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("helm")


@pytest.fixture(scope="module")
def program(place: Path) -> Path:
    return helm(place)


@pytest.fixture(scope="module")
def render(program: Path) -> Callable[[dict[str, str]], Objects]:
    def rendered(values: dict[str, str]) -> Objects:
        options = [f"--set={name}={value}" for name, value in values.items()]
        done = run(program, "template", "shop", CHART, *options)
        assert 0 == done.returncode, done.stderr
        return [one for one in yaml.safe_load_all(done.stdout) if one]

    return rendered


def run(program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


def of_kind(objects: Objects, kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in objects if one["kind"] == kind}


def containers(objects: Objects) -> Iterator[dict[str, Any]]:
    for one in objects:
        if one["kind"] in ("Deployment", "Job"):
            pod = one["spec"]["template"]["spec"]
            yield from [*pod.get("initContainers", []), *pod["containers"]]


def test_helm_finds_nothing_to_say_about_the_chart(program: Path) -> None:
    options = [f"--set={name}={value}" for name, value in STORES.items()]
    done = run(program, "lint", "--strict", CHART, *options)

    assert 0 == done.returncode, done.stdout


@pytest.mark.parametrize("values", [STORES, EVERYTHING, BY_HAND], ids=["least", "everything", "without operators"])
def test_kubernetes_takes_every_object(
    place: Path, render: Callable[[dict[str, str]], Objects], values: dict[str, str]
) -> None:
    errors = kubernetes_errors(place)
    objects = [one for one in render(values) if one["apiVersion"] != "keda.sh/v1alpha1"]

    assert objects
    assert {} == {one["metadata"]["name"]: found for one in objects if (found := errors(one))}


def test_an_unknown_field_is_an_error(place: Path, render: Callable[[dict[str, str]], Objects]) -> None:
    deployment = next(one for one in render(STORES) if one["kind"] == "Deployment")
    deployment["spec"]["replica"] = 2

    assert [True] == ["replica" in error for error in kubernetes_errors(place)(deployment)]


@pytest.mark.parametrize("values", [STORES, EVERYTHING], ids=["least", "everything"])
def test_every_variable_is_a_setting_and_every_setting_is_valid(
    render: Callable[[dict[str, str]], Objects],
    values: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = {f"THROUGHLINE_{name.upper()}" for name in Settings.model_fields}
    known |= {f"THROUGHLINE_{name.upper()}_FILE" for name in secret_settings()}
    for container in containers(render(values)):
        environment = {one["name"]: one["value"] for one in container["env"]}

        assert set() == set(environment) - known
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                file = tmp_path / Path(value).name
                if name.endswith("_FILE"):
                    assert "/run/secrets/throughline" == str(Path(value).parent)
                    file.write_text("server=secret" if name.endswith(LISTS) else "secret")
                patch.setenv(name, str(file) if name.endswith("_FILE") else value)
            assert "secret" == Settings().identity_secret.get_secret_value()


def test_every_role_has_its_worker_its_budget_and_is_scaled_by_the_lag_of_its_group(
    render: Callable[[dict[str, str]], Objects],
) -> None:
    objects = render(EVERYTHING)
    deployments, scaled = of_kind(objects, "Deployment"), of_kind(objects, "ScaledObject")

    names = {f"shop-{role}" for role in ROLES}
    others = {f"shop-{name}" for name in ("collector", "console", "export", "scores", "backfill")}
    assert names | others == set(deployments)
    assert names | {"shop-collector"} == set(of_kind(objects, "PodDisruptionBudget"))
    assert names == set(scaled) == {one["spec"]["scaleTargetRef"]["name"] for one in scaled.values()}
    for role in ROLES:
        container = deployments[f"shop-{role}"]["spec"]["template"]["spec"]["containers"][0]
        (trigger,) = scaled[f"shop-{role}"]["spec"]["triggers"]
        assert ["worker", role] == container["args"]
        assert ["throughline", "health", role] == container["livenessProbe"]["exec"]["command"]
        assert ("kafka", group_id("shop-", role)) == (trigger["type"], trigger["metadata"]["consumerGroup"])
        assert {str} == {type(value) for value in trigger["metadata"].values()}  # KEDA takes nothing else
        assert "replicas" not in deployments[f"shop-{role}"]["spec"]  # the autoscaler's


def test_metrics_have_the_port_of_their_process(render: Callable[[dict[str, str]], Objects]) -> None:
    found = {
        container["name"]: port["containerPort"]
        for container in containers(render(EVERYTHING))
        for port in container.get("ports", [])
        if port["name"] == "metrics"
    }

    assert {process: 9464 + number for number, process in enumerate(PROCESSES)} == found


def test_migrations_run_before_the_workers(render: Callable[[dict[str, str]], Objects]) -> None:
    (job,) = of_kind(render(STORES), "Job").values()

    assert [["topics", "apply"], ["migrate"]] == [one["args"] for one in containers([job])]
    assert "pre-install,pre-upgrade" == job["metadata"]["annotations"]["helm.sh/hook"]


def test_no_process_is_root_or_writes_to_its_image(render: Callable[[dict[str, str]], Objects]) -> None:
    objects = render(STORES)
    pods = [one["spec"]["template"]["spec"] for one in objects if one["kind"] in ("Deployment", "Job")]

    assert {True} == {pod["securityContext"]["runAsNonRoot"] for pod in pods}
    assert {(True, False)} == {
        (one["securityContext"]["readOnlyRootFilesystem"], one["securityContext"]["allowPrivilegeEscalation"])
        for one in containers(objects)
    }


@pytest.mark.parametrize("setting", STORES)
def test_a_missing_address_is_named(program: Path, setting: str) -> None:
    options = [f"--set={name}={value}" for name, value in STORES.items() if name != setting]

    assert f"{setting} is required" in run(program, "template", "shop", CHART, *options).stderr


def test_the_chart_has_the_version_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]

    assert (version, version) == (chart["version"], chart["appVersion"])
    assert re.search(rf"throughline:{version}\b", (CHART / "README.md").read_text("utf-8"))
