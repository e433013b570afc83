"""The base images of `deploy`, made under their own names of Debian's, PyPI's and Maven Central's packages.

For machines that reach package registries but no registry of images. The servers are the real ones; around them is what
the deployment files use of the real images, such as `KAFKA_…` variables, the folders of ClickHouse's configuration, the
programs of health checks, the users. What differs: all are Debian 12, Python and Java have its versions, ClickHouse is
chdb's build of it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from deploy.local.kafka import VERSION, jars
from tests.containers.engine import DATA, ROOT, Engine, debian_mirror
from tests.support.packages import java_packages
from tests.support.stack import image_of

HERE = Path(__file__).parent / "servers"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def python_image() -> str:
    """Return the base of our own image."""
    found = re.search(r"^FROM (\S+)", (ROOT / "deploy/Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert found
    return found[1]


def make_images(engine: Engine) -> None:
    """Make the four base images; what is there already takes a second each."""
    if engine.run("image", "inspect", python_image(), check=False).returncode:
        _import_debian(engine)
    packages = sysconfig.get_path("purelib")
    _build(engine, "clickhouse", {"packages": packages, "tree": ROOT})
    _build(engine, "valkey", {"packages": packages})
    with tempfile.TemporaryDirectory() as scratch:
        java = shutil.which("java")
        assert java, "the image of Apache Kafka needs a Java 17 runtime (Debian: openjdk-17-jre-headless)"
        home = Path(java).resolve().parents[1]
        for part in ("bin", "conf", "lib"):  # Debian's has links into /etc
            shutil.copytree(home / part, Path(scratch, part), ignore_dangling_symlinks=True)
        tools = DATA / "kafka-tools" / VERSION  # of the health check
        if not (tools / "jars").exists():
            java_packages(tools, f"org.apache.kafka:kafka-tools:{VERSION}")
        _build(engine, "kafka", {"java": scratch, "jars": jars(), "tools": tools / "jars"})


def _build(engine: Engine, service: str, contexts: dict[str, Path | str]) -> None:
    named = [f"--build-context={name}={path}" for name, path in contexts.items()]
    engine.run(
        "buildx", "build", "--quiet", "--load", f"--build-arg=BASE={python_image()}", *named,
        "--tag", image_of(service), HERE / service,
    )  # fmt: skip


def _import_debian(engine: Engine) -> None:
    """Import a Debian 12 with Python, and with the certificates and pip configuration of this machine."""
    print(f"Making {python_image()} of Debian's packages …", file=sys.stderr, flush=True)
    hooks = [f'ln -s /usr/bin/python3.11 "$1/usr/local/bin/{name}"' for name in ("python", "python3", "python3.11")]
    hooks += [f'cp {own} "$1{own}"' for own in (_CERTIFICATES, "/etc/pip.conf") if Path(own).exists()]
    with tempfile.TemporaryDirectory(prefix="debian-12-") as scratch:
        archive = Path(scratch, "root.tar")
        made = subprocess.run(
            ["mmdebstrap", "--mode=root", "--variant=minbase", "--aptopt=APT::Sandbox::User \"root\"",
             "--include=ca-certificates,netbase,tzdata,python3-venv", *(f"--customize-hook={hook}" for hook in hooks),
             "bookworm", str(archive), debian_mirror()],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert made.returncode == 0, f"mmdebstrap failed:\n{made.stdout[-2000:]}"
        engine.run(
            "import", "--change", f"ENV PIP_CERT={_CERTIFICATES}", "--change", "ENV PATH=/usr/local/bin:/usr/bin:/bin:"
            "/usr/local/sbin:/usr/sbin:/sbin", "--change", 'CMD ["python3"]', archive, python_image(),
        )  # fmt: skip
