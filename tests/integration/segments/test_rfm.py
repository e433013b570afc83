"""One RFM: the view v_rfm gives every person the scores and the class that segments have."""

from __future__ import annotations

from collections import defaultdict
from itertools import product
from typing import Any

import pytest

from deploy.operations.engines import load_segments
from deploy.settings import Settings
from processors.profiles.document import apply, encode, new_profile
from processors.recording.rows import profile_row
from processors.segments.engine import SegmentEngine
from schemas.durations import DAY_MS
from schemas.profiles.person import Person
from schemas.time import clock_ms, text_of_ms
from sinks.clickhouse.rfm import publish_rfm
from tests.support.builders import order
from tests.support.order_cases import ORDER_CASES
from tests.support.profiles import resolved
from tests.support.warehouse import person, warehouse

pytestmark = pytest.mark.integration

ATTRIBUTES = ("rfm.recency", "rfm.frequency", "rfm.monetary", "rfm.class")


def people(now_ms: int) -> dict[str, list[dict[str, Any]]]:
    """Customers of every score, on both sides of each threshold, and those of all cases of orders."""
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for number, case in enumerate(ORDER_CASES.values()):
        for event in case.resolved():
            who = str(event["profile_id"])
            found[person(1000 * (number + 1) + int(who[-3:]))].append(event)
    choices = product((1, 59.9, 60.1, 200, 400), (1, 2, 4, 9), ("9.99", "25.00", "124.9999", "500"), ("EUR", "JPY"))
    for number, (days, orders, amount, currency) in enumerate(choices):
        for count in range(orders):
            at = text_of_ms(now_ms - round(days * DAY_MS) - count * DAY_MS)
            written = order(f"o{number}-{count}", amount, occurred_at=at)
            written["properties"]["currency"] = currency
            found[person(number + 1)].append(resolved(**written))
    undated = order("undated", occurred_at=text_of_ms(now_ms), context={"time_doubtful": True})
    found[person(900)] = [resolved(**undated)]
    found[person(901)] = [resolved("Page Viewed")]
    return found


def test_the_view_and_segments_agree_for_every_person(stack: Settings) -> None:
    definitions, now_ms = load_segments(stack), clock_ms()
    engine, expected, rows = SegmentEngine(definitions), {}, []
    for profile_id, events in people(now_ms).items():
        document = new_profile(profile_id)
        for event in events:
            apply(document, event)
        rows.append(profile_row(profile_id, 1, encode(document)))
        values = [engine.attribute(name, Person(profile_id, document, {}), now_ms) for name in ATTRIBUTES]
        if values[-1] is not None:
            expected[profile_id] = tuple(values)
    with warehouse(stack) as tables:
        tables.insert("profiles", *rows)
        first, again = publish_rfm(tables.client, definitions.rfm), publish_rfm(tables.client, definitions.rfm)
        found = {str(row[0]): row[1:] for row in tables.rows("SELECT profile_id, r, f, m, class FROM v_rfm")}
        quintiles = tables.rows("SELECT measure, currency, length(quintiles) FROM v_rfm_quintiles ORDER BY 1, 2")

    assert (True, False) == (first, again)
    assert expected == found
    assert {1, 2, 4, 5} <= {row[0] for row in found.values()}
    assert {"champions", "at_risk", "lost"} <= {row[3] for row in found.values()}
    assert [("frequency", "", 4), ("monetary", "EUR", 4), ("monetary", "JPY", 4), ("recency_days", "", 4)] == [
        one for one in quintiles if one[1] in ("", "EUR", "JPY")
    ]
