"""The files of a deployment say what the code says: checked without Docker."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.local.kafka import VERSION
from deploy.operations.roles import ROLES
from deploy.settings import Settings

ROOT = Path(__file__).parents[3]
COMPOSE = ROOT / "deploy/compose.yaml"
DOCKERFILE = ROOT / "deploy/Dockerfile"

SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text("utf-8"))["services"]
ONE_SHOTS = {"topics", "migrations"}
STORES = {"kafka", "valkey", "clickhouse"}
OPTIONAL = {"console": "console", "export": "export", "prometheus": "observability", "grafana": "observability"}
EVERY_SERVICE = pytest.mark.parametrize("service", [pytest.param(SERVICES[name], id=name) for name in SERVICES])
EVERY_LASTING_SERVICE = pytest.mark.parametrize(
    "service", [pytest.param(SERVICES[name], id=name) for name in SERVICES if name not in ONE_SHOTS]
)


def tool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program of this virtual environment at the top of the tree."""
    program, *rest = arguments
    command = [str(Path(sys.executable).parent / program), *map(str, rest)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_compose_file_keeps_to_the_compose_specification() -> None:
    checked = tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE)

    assert (0, "") == (checked.returncode, checked.stderr), checked.stdout


def test_dockerfile_passes_hadolint() -> None:
    checked = tool("hadolint", DOCKERFILE)

    assert (0, "") == (checked.returncode, checked.stdout)


@pytest.mark.parametrize("file", [COMPOSE, DOCKERFILE, ROOT / "deploy/env.example"], ids=lambda file: file.name)
def test_every_variable_of_ours_is_a_setting(file: Path) -> None:
    named = set(re.findall(r"THROUGHLINE_[A-Z_]+", file.read_text("utf-8")))

    assert set() == named - {"THROUGHLINE_" + name.upper() for name in Settings.model_fields}


def test_secrets_have_no_default() -> None:
    text = COMPOSE.read_text("utf-8")
    secrets = [
        "THROUGHLINE_IDENTITY_SECRET", "CLICKHOUSE_PASSWORD", "CLICKHOUSE_ANALYST_PASSWORD", "THROUGHLINE_WRITE_KEYS",
    ]  # fmt: skip

    assert [True] * 4 == [f"${{{secret}:?" in text for secret in secrets]
    assert [] == [secret for secret in secrets if re.search(rf"\$\{{{secret}(?!:\?)", text)]
    assert secrets == re.findall(r"^(\w+)=$", (ROOT / "deploy/env.example").read_text("utf-8"), re.MULTILINE)


def test_there_is_one_service_for_each_store_one_shot_and_role() -> None:
    assert STORES | ONE_SHOTS | set(ROLES) | {"collector", "scores", "backfill"} == set(SERVICES) - OPTIONAL.keys()


def test_what_is_optional_is_in_a_profile_of_its_own() -> None:
    found = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}

    assert {name: [profile] for name, profile in OPTIONAL.items()} == found


def test_prometheus_asks_every_service_that_serves_metrics() -> None:
    asked = yaml.safe_load((ROOT / "deploy/observability/prometheus.yaml").read_text("utf-8"))["scrape_configs"]

    assert {*ROLES, "collector", "export"} == {
        name for job in asked for one in job["dns_sd_configs"] for name in one["names"]
    }


def test_services_that_the_operators_manual_names_exist() -> None:
    text = (ROOT / "deploy/README.md").read_text("utf-8")
    one = re.findall(r"(?:docker compose|\bdc) (?:exec|run)(?: -\S+)* (\w+)", text)
    several = re.findall(r"(?:docker compose|\bdc) stop((?: \w+)+)", text)

    named = {*one, *" ".join(several).split()}

    assert {"identify", "migrations"} <= named
    assert set() == named - set(SERVICES)


@pytest.mark.parametrize("role", ROLES)
def test_a_worker_runs_its_role_and_is_asked_for_its_own_health(role: str) -> None:
    service = SERVICES[role]

    assert ["worker", role] == service["command"]
    assert ["CMD", "throughline", "health", role] == service["healthcheck"]["test"]


@pytest.mark.parametrize("role", ROLES)
def test_a_worker_starts_when_its_stores_are_healthy_and_the_one_shots_are_done(role: str) -> None:
    conditions = {name: wait["condition"] for name, wait in SERVICES[role]["depends_on"].items()}

    assert conditions == dict.fromkeys(STORES, "service_healthy") | dict.fromkeys(
        ONE_SHOTS, "service_completed_successfully"
    )


def test_the_collector_needs_kafka_alone_and_is_asked_for_its_own_health() -> None:
    service = SERVICES["collector"]

    assert (["collector"], {"kafka", "topics"}) == (service["command"], set(service["depends_on"]))
    assert ["CMD", "throughline", "health", "collector"] == service["healthcheck"]["test"]


def test_how_long_data_is_kept_reaches_who_sets_it_and_who_lets_people_expire() -> None:
    names = {name for name in Settings.model_fields if name.startswith("keep_")} | {"anonymous_retention_days"}
    default = {f"THROUGHLINE_{name.upper()}": Settings.model_fields[name].default for name in names}
    expected = {name: f"${{{name}:-{days}}}" for name, days in default.items()}

    for service in ("migrations", "profile"):
        assert expected == {name: SERVICES[service]["environment"].get(name) for name in expected}


@EVERY_LASTING_SERVICE
def test_lasting_services_have_a_health_check_and_are_started_again(service: dict[str, Any]) -> None:
    assert {"test", "interval", "timeout", "retries"} <= set(service["healthcheck"])
    assert "unless-stopped" == service["restart"]


@pytest.mark.parametrize("name", sorted(ONE_SHOTS))
def test_one_shots_are_tried_again_only_when_they_fail(name: str) -> None:
    assert "on-failure:5" == SERVICES[name]["restart"]


@EVERY_SERVICE
def test_services_have_limits_and_gain_no_privileges(service: dict[str, Any]) -> None:
    assert {"cpus", "memory", "pids"} == set(service["deploy"]["resources"]["limits"])
    assert ["no-new-privileges:true"] == service["security_opt"]


@EVERY_SERVICE
def test_ports_are_published_on_loopback_alone(service: dict[str, Any]) -> None:
    assert [] == [port for port in service.get("ports", []) if not port.startswith("127.0.0.1:")]


@EVERY_SERVICE
def test_images_have_a_version(service: dict[str, Any]) -> None:
    assert re.search(r":v?\d+\.\d+[\w.-]*$", service["image"]), service["image"]


def test_kafka_is_the_version_that_the_tests_run_on() -> None:
    assert f"apache/kafka:{VERSION}" == SERVICES["kafka"]["image"]


def test_our_image_has_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]

    ours = {service["image"] for service in SERVICES.values() if service["image"].startswith("throughline:")}

    assert {f"throughline:{version}"} == ours


def test_our_image_is_built_once_and_never_pulled() -> None:
    policies = {
        name: (service["pull_policy"], "build" in service)
        for name, service in SERVICES.items()
        if service["image"].startswith("throughline:")
    }

    assert policies == dict.fromkeys(policies, ("never", False)) | {"topics": ("build", True)}


def test_clickhouse_is_the_version_that_the_tests_run_on() -> None:
    pinned = re.search(r"^chdb-core==(\d+\.\d+)", (ROOT / "deploy/constraints.txt").read_text("utf-8"), re.MULTILINE)

    assert pinned
    assert f"clickhouse/clickhouse-server:{pinned[1]}" == SERVICES["clickhouse"]["image"]


def test_the_image_takes_no_setuptools_that_the_file_does_not_name() -> None:
    installs = re.findall(r"pip install (.+)", DOCKERFILE.read_text("utf-8"))

    assert re.fullmatch(r"setuptools==[\d.]+", installs[0])
    assert "--no-build-isolation" in installs[-1]


def test_valkey_keeps_an_append_only_file_and_no_snapshots() -> None:
    command = shlex.split(SERVICES["valkey"]["command"])

    assert ["yes", ""] == [command[command.index(option) + 1] for option in ("--appendonly", "--save")]


def test_no_log_of_clickhouse_grows_for_ever() -> None:
    logs = ElementTree.parse(ROOT / "deploy/clickhouse/system-logs.xml").getroot()

    assert {True} == {log.get("remove") == "1" or log.find("ttl") is not None for log in logs}


def test_base_images_have_a_patch_version() -> None:
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE.read_text("utf-8"), re.MULTILINE)

    assert [True] * 3 == [bool(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base)) for base in bases]


@EVERY_SERVICE
def test_mounted_files_exist(service: dict[str, Any]) -> None:
    sources = [mount.partition(":")[0] for mount in service.get("volumes", [])]
    files = [source for source in sources if source.startswith((".", "/"))]

    assert [] == [file for file in files if not (COMPOSE.parent / file).exists()]
    assert set(sources) - set(files) <= set(yaml.safe_load(COMPOSE.read_text("utf-8"))["volumes"])


def test_image_is_built_from_files_that_exist_and_that_the_build_may_see() -> None:
    copied = re.findall(r"^COPY ((?!--).+) \S+$", DOCKERFILE.read_text("utf-8"), re.MULTILINE)
    files = [name for line in copied for name in line.split()]
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}

    assert [] == [name for name in files if not (ROOT / name).exists()]
    assert set() == {name.partition("/")[0] for name in files if name != "."} - allowed


def test_every_dependency_is_pinned_to_a_version_that_the_project_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = {
        name: needs for name, needs in project["optional-dependencies"].items() if name != "peers"
    }  # by hand only
    wanted = [*project["dependencies"], *(one for needs in extras.values() for one in needs)]
    lines = (ROOT / "deploy/constraints.txt").read_text("utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    versions = {canonicalize_name(name): version for name, version in pinned.items()}

    assert [] == [
        text
        for text in wanted
        if not (need := Requirement(text)).specifier.contains(versions.get(canonicalize_name(need.name), "0"))
    ]


def test_pre_commit_configuration_is_valid_and_uses_only_local_hooks() -> None:
    checked = tool("pre-commit", "validate-config", ".pre-commit-config.yaml")
    repositories = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]

    assert (0, "", "") == (checked.returncode, checked.stdout, checked.stderr)
    assert ["local"] == [repository["repo"] for repository in repositories]
