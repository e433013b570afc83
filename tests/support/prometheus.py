"""Debian's Prometheus on a free port: it scrapes processes of a test and evaluates the alerts that are shipped."""

from __future__ import annotations

import json
import shutil
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import yaml
from prometheus_client.parser import text_string_to_metric_families

from deploy.home import Home
from deploy.local.ports import LOOPBACK, free_port
from deploy.local.process import ChildProcess
from tests.support.stack import unavailable

ALERTS = Path(__file__).parents[2] / "deploy/observability/alerts.yaml"


class Prometheus:
    """A running Prometheus; `with` starts it and ends it.

    Args:
        folder: For its files.
        home: Of the processes that it scrapes.
        processes: Their names.
        wait: How long every alert waits until it fires, instead of the minutes of the file.
    """

    def __init__(self, folder: Path, home: Path, processes: Iterable[str], wait: str = "2s") -> None:
        self._binary = shutil.which("prometheus") or unavailable("Prometheus is not installed (Debian: prometheus)")
        self._folder, self._home, self._processes, self._wait = folder, Home(home), list(processes), wait
        self._address = f"{LOOPBACK}:{free_port()}"
        self._process: ChildProcess | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        rules = yaml.safe_load(ALERTS.read_text("utf-8"))
        for rule in rules["groups"][0]["rules"]:
            rule["for"] = self._wait
        self._write("alerts.yaml", rules)
        self.look_for_targets()
        targets = {"files": [str(self._folder / "targets.yaml")], "refresh_interval": "1s"}
        self._write(
            "prometheus.yaml",
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": ["alerts.yaml"],
                "scrape_configs": [{"job_name": "throughline", "file_sd_configs": [targets]}],
            },
        )
        self._process = ChildProcess(
            "prometheus",
            [
                self._binary,
                f"--config.file={self._folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={self._folder / 'data'}",
                f"--web.listen-address={self._address}",
            ],
            self._folder / "prometheus.log",
        )
        self._process.launch()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.stop(10)

    def look_for_targets(self) -> None:
        """Tell it where the processes serve: one that was started again may have another port."""
        found = {
            name: file.read_text("utf-8").removeprefix("http://").removesuffix("/metrics")
            for name in self._processes
            if (file := self._home.metrics(name)).exists()
        }
        self._write("targets.yaml", [{"targets": [at], "labels": {"process": name}} for name, at in found.items()])

    def ask(self, path: str, **parameters: str) -> Any:
        """Ask its API; returns the data of the answer, None while it does not answer."""
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 503:  # it starts
                    return None
                raise AssertionError(f"{parameters}: {error.read().decode()}") from error
        except OSError:
            return None

    def up(self) -> set[str]:
        """Return the processes that it has scraped."""
        targets = (self.ask("targets") or {}).get("activeTargets", ())
        return {one["labels"]["process"] for one in targets if one["health"] == "up"}

    def firing(self) -> set[str]:
        """Return the alerts that fire, with the processes scraped where they serve now."""
        self.look_for_targets()
        alerts = (self.ask("alerts") or {}).get("alerts", ())
        return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}

    def _write(self, name: str, content: Any) -> None:
        file = self._folder / f".{name}"
        file.write_text(yaml.safe_dump(content), "utf-8")
        file.rename(self._folder / name)


def scraped(home: Path, role: str) -> tuple[dict[str, float], str]:
    """Sums of the samples of a worker, by name and the label that tells most; and the text."""
    with urllib.request.urlopen(Home(home).metrics(role).read_text("utf-8"), timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[" ".join((sample.name.removeprefix("throughline_"), *sample.labels.values()))] += sample.value
    return found, text
