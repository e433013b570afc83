"""Rewrites `processors/recording/known_sites.json` from a newer state of its source.

`git clone https://github.com/matomo-org/searchengine-and-social-list`, then
`python -m tests.support.known_sites CLONE`, then `make test`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from processors.recording.sites import KNOWN_SITES_FILE

_SOURCE = "https://github.com/matomo-org/searchengine-and-social-list"
_NO_SEARCH_ENGINE = frozenset({
    "alexa.com", "cnn.com", "dizionario.it.msn.com", "enciclopedia.it.msn.com", "maps.google.*", "msnbc.msn.com",
    "navigationshilfe.t-online.de", "tieba.baidu.com", "toppreise.ch", "translate.google.com",
    "webcache.googleusercontent.com", "yabs.yandex.*", "zhidao.baidu.com",
})  # fmt: skip
"""Hosts that the source lists as search engines because their addresses have keywords, though they are other sites."""
_NO_NETWORK = frozenset({"linkedin.android", "login.live.com", "login.tagged.com"})
"""Hosts that the source lists as social networks, and which are sign-in pages or no hosts."""


def patterns(hosts: list[str]) -> list[str]:
    """The hosts of the source as patterns of `sites.py`, each once; those that another covers are left out."""
    found = {
        host.replace("{}.", "*.").replace(".{}", ".*").removeprefix("www.").replace("*.www.", "*.")
        for host in hosts
        if "/" not in host or host == "x.com/i/grok"
    }
    covering = {host.removeprefix("*.") for host in found if host.startswith("*.")}
    domains = {host.removesuffix(".*") for host in found if host.endswith(".*")}
    return sorted(
        host
        for host in found
        if host.startswith("*.")
        or not (
            any(host == above or host.endswith("." + above) for above in covering)
            or (host.endswith(".com") and host.removesuffix(".com") in domains)
        )
    )


def known_sites(clone: Path) -> dict[str, Any]:
    """The content of the file.

    Args:
        clone: A checkout of the source.
    """

    def read(name: str) -> Any:
        return yaml.safe_load((clone / name).read_text("utf-8"))

    commit = subprocess.run(
        ["git", "-C", str(clone), "log", "-1", "--format=%h of %as"], check=True, capture_output=True, text=True
    )
    assistants = patterns([host for hosts in read("AIAssistants.yml").values() for host in hosts])
    social = patterns([host for hosts in read("Socials.yml").values() for host in hosts])
    engines = read("SearchEngines.yml").values()
    search = patterns([host for engine in engines for variant in engine for host in variant["urls"]])
    social = sorted({*social} - {*assistants} - _NO_NETWORK)
    return {
        "about": f"{_SOURCE}, {commit.stdout.strip()}, CC0 1.0",
        "assistant": assistants,
        "search": sorted({*search} - {*assistants} - {*social} - _NO_SEARCH_ENGINE),
        "social": social,
    }


if __name__ == "__main__":
    KNOWN_SITES_FILE.write_text(json.dumps(known_sites(Path(sys.argv[1])), indent=1) + "\n", "utf-8")
