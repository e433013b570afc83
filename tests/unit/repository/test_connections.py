"""A connection to a store is opened in `deploy/connections` alone: else it would lack TLS, user or password."""

from __future__ import annotations

import re
from pathlib import Path

DEPLOY = Path(__file__).parents[3] / "deploy"
NOT_SEARCHED = {"connections", "local", "clients"}
"""The probes of the local stack know no TLS, and clients run where nothing of ours is installed."""
OPENS = re.compile(
    r"from_url\(|get_client\(|bootstrap\.servers|\bconnect\(|ClickHouseSink\("
    r"|(?<!class )\b(?:Producer|Consumer|AdminClient)\((?!\s*(?:\{\s*\*\*)?(?:kafka_connection|producer_config)\()"
)


def test_no_other_module_opens_a_connection() -> None:
    found = {
        str(path.relative_to(DEPLOY)): [one[0] for one in OPENS.finditer(path.read_text("utf-8"))]
        for path in DEPLOY.rglob("*.py")
        if not NOT_SEARCHED & set(path.relative_to(DEPLOY).parts)
    }

    assert {} == {name: calls for name, calls in found.items() if calls}
