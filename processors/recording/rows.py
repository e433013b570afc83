"""Returns the rows of ClickHouse for each kind of record, one JSON object a row.

Columns are explained in `sinks/migrations`. Where a column holds JSON as text, the row has the object itself and the
store keeps its bytes, which saves encoding it twice. A row of `touchpoints` holds the whole event, so that profiles can
be rebuilt from history (`sinks/clickhouse/history.py`); identifiers and traits are in no view. A nil UUID stands for no
profile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from processors.enrichment.geography import Geography, geography
from processors.intake.event_time import TIME_DOUBTFUL
from processors.recording.touch_rules import Touch, TouchRules, campaign_of
from schemas.events.mending import MENDED, mended_notes
from schemas.events.messages import STEPS, message_step
from schemas.identity.resolution import NIL_UUID
from schemas.json_bytes import json_bytes
from schemas.money import plain, revenue
from schemas.orders import KINDS, REPORTS, OrderEvent, conversion_id_of_event, namespace_of, order_event, order_key
from schemas.products import ABOUT_PRODUCTS, facts_of
from schemas.time import ms_of_text

Row = tuple[str, bytes]
"""A table's name and one JSON object."""


MAX_UINT64 = 2**64 - 1
"""`delivery` of a row is this less its time of arrival: the higher, that is the one received first, stays."""
_USUAL_MONEY = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,4})?", re.ASCII)
_NOTHING: Mapping[str, Any] = {}
_NO_SESSIONS = frozenset(("-1", "0"))
"""What SDKs send before they have a session."""
_PROPERTY_COLUMNS = (
    ("product_id", "product_id"),
    ("campaign_name", "campaign"),
    ("creative", "creative"),
    ("currency", "currency"),
)
_ORDER_COLUMNS = (
    "event_id", "source", "occurred_at", "received_at", "channel", "anchor", "profile_id", "identity_version",
)  # fmt: skip
_CAMPAIGN_COLUMNS = (
    ("name", "campaign"),
    ("creative", "creative"),
    ("id", "campaign_id"),
    ("source", "campaign_source"),
    ("medium", "campaign_medium"),
    ("term", "campaign_term"),
    ("content", "campaign_content"),
    ("click_id", "click_id"),
)


def touchpoint_rows(event: dict[str, Any], rules: TouchRules) -> list[Row]:
    """Write one resolved event.

    Args:
        event: A value of the topic `resolved-touchpoints`, parsed.
        rules: Which events are touches and conversions.

    Returns:
        A row of `touchpoints`; of `order_events` when it is about an order, else of `conversions` for each goal that
        it reaches; a row of `messages` when it is a step of a message that has an id; and a row of `product_facts` for
        each fact that it states of a product. A derived event gives none.
    """
    if event.get("derived"):
        return []  # derived by the pipeline: not an action of the person
    properties = event.get("properties") or _NOTHING
    context = event.get("context") or _NOTHING
    origin = event["origin"]
    touch = rules.classify(event)
    goals = rules.goals(event)
    order_id = _text(properties["order_id"]) if "order_id" in properties else ""
    name = event["event"]
    about_order = order_event(event) if name in KINDS else None
    row: dict[str, Any] = {
        "event_id": event["event_id"],
        "event": name,
        "channel": event["channel"],
        "source": event["source"],
        "occurred_at": event["occurred_at"],
        "received_at": event["received_at"],
        "anchor": event["anchor"] or NIL_UUID,
        "profile_id": event["profile_id"] or NIL_UUID,
        "identity_version": event.get("identity_version", 0),
        "touch": touch.kind,
        "marketing_channel": touch.marketing_channel,
        "is_checkout": name in rules.checkout_steps,
        "conversion_id": _conversion_id(event, about_order, order_id) if goals else "",
        "order_id": order_id,
        "session_id": "",
        "origin_topic": origin["topic"],
        "origin_partition": origin["partition"],
        "origin_offset": origin["offset"],
    }
    # A column that is left out is empty.
    if context:
        _add_context(row, context)
    if touch.click_id or touch.conflict:
        _add_click_id(row, event, touch, rules)
    if properties:
        row["properties"] = properties
        for field, column in _PROPERTY_COLUMNS:
            if field in properties:
                row[column] = _text(properties[field])
        if "revenue" in properties or goals:
            row["revenue"] = _revenue_text(properties)
    _add_sections(row, event)
    enriched = event.get("enriched")
    if enriched:
        row["enrichment"] = enriched
    if campaign := campaign_of(event):
        _add_campaign(row, campaign)
    rows = [("touchpoints", json_bytes(row))]
    if goals or about_order is not None or name in ABOUT_PRODUCTS:
        rows.extend(_rows_of_subject(event, about_order, row, goals))
    if name in STEPS:
        rows.extend(_message(row, properties))
    return rows


def _add_sections(row: dict[str, Any], event: Mapping[str, Any]) -> None:
    for section in ("identifiers", "traits", "context", "consent"):
        if part := event.get(section):
            row[section] = part
    if order := event.get("order"):
        row |= {f"order_{field}": value for field, value in order.items()}


def _add_context(row: dict[str, Any], context: Mapping[str, Any]) -> None:
    """Add the session, and what reading the event has noted: that its time is doubtful, and what was mended."""
    if "session_id" in context and (session_id := context["session_id"]) not in _NO_SESSIONS:
        row["session_id"] = session_id
    if context.get(TIME_DOUBTFUL) is True:
        row["time_doubtful"] = 1
        row["touch"] = ""  # when it was is not known, so neither is what it came before
    if MENDED in context and (mended := mended_notes(context[MENDED])):
        row["mended"] = mended


def _add_click_id(row: dict[str, Any], event: Mapping[str, Any], touch: Touch, rules: TouchRules) -> None:
    if touch.click_id:
        row["click_id"], row["click_id_name"] = rules.click_id(event, touch.click_id), touch.click_id
    if touch.conflict:
        row["conflicting_network"] = touch.conflict


def _add_campaign(row: dict[str, Any], campaign: Mapping[str, Any]) -> None:
    row["campaign_fields"] = campaign
    for name, column in _CAMPAIGN_COLUMNS:
        if value := campaign.get(name):
            row[column] = value
    if campaign.get("click_id"):
        row.pop("click_id_name", None)  # the producer's own


def identity_rows(change: dict[str, Any]) -> list[Row]:
    """Write one change of identity.

    Args:
        change: A value of the topic `identity-changes`, parsed.

    Returns:
        A row of `identity_log`; for a merge or a split also a row of `identity_overrides` for each identifier that
        moved. A transfer moves an identifier from now on and leaves its history where it is.
    """
    logged = {
        "version": change["version"],
        "kind": change["kind"],
        "profile_id": change["profile_id"] or NIL_UUID,
        "from_profile_id": change["from_profile_id"] or NIL_UUID,
        "anchors": [{"anchor": anchor, "type": kind} for anchor, kind in change["anchors"]],
        "event_id": change["event_id"],
        "occurred_at": change["occurred_at"],
        "rule": change["rule"],
    }
    rows = [("identity_log", json_bytes(logged))]
    if change["kind"] in ("merge", "split"):
        for anchor, _ in change["anchors"]:
            override = {"anchor": anchor, "profile_id": change["profile_id"], "version": change["version"]}
            rows.append(("identity_overrides", json_bytes(override)))
    return rows


def dropped_rows(dropped: dict[str, Any]) -> list[Row]:
    """Write one event that was dropped: a value of the topic `dropped-touchpoints`, parsed."""
    return [("dropped_touchpoints", json_bytes(dropped))]


def dead_letter_rows(letter: dict[str, Any]) -> list[Row]:
    """Write one record that could not be processed: a value of the topic `dead-letters`, parsed."""
    return [("dead_letters", json_bytes(letter))]


def profile_row(profile_id: str, version: int, document: bytes, state: bytes = b"") -> bytes:
    """Write a snapshot of a profile.

    Args:
        profile_id: The person.
        version: The profile's version; the highest stays.
        document: The profile, JSON; `gone` marks one that was merged away or erased.
        state: What the decider remembers, JSON; empty: nothing.
    """
    gone = b'"gone"' in document and _is_gone(document)  # rare, and parsing takes long
    row = {
        "profile_id": profile_id,
        "version": version,
        "document": orjson.Fragment(document),
        **({"state": orjson.Fragment(state)} if state else {}),
        "is_deleted": int(gone),
    }
    return json_bytes(row)


def _is_gone(document: bytes) -> bool:
    try:
        profile = orjson.loads(document)
    except orjson.JSONDecodeError:
        return False  # the store refuses the row, and the other snapshots are stored
    return isinstance(profile, dict) and bool(profile.get("gone"))


def conversion_id_of(event: Mapping[str, Any]) -> str:
    """Return the id that an event's conversion has in the tables, whether or not it reaches a goal."""
    order_id = _text((event.get("properties") or _NOTHING).get("order_id", ""))
    return _conversion_id(event, order_event(event), order_id)


def _conversion_id(event: Mapping[str, Any], about_order: OrderEvent | None, order_id: str) -> str:
    if about_order is not None:
        return about_order.key
    return (
        order_key(namespace_of(event), order_id)
        if order_id
        else conversion_id_of_event(event["source"], event["event_id"])
    )


def _rows_of_subject(
    event: Mapping[str, Any], about_order: OrderEvent | None, row: Mapping[str, Any], goals: list[str]
) -> list[Row]:
    """Write what an event says of an order, a goal or a product: reports' goals are read from `order_events`."""
    rows = _product_facts(event) if row["event"] in ABOUT_PRODUCTS else []
    where = geography(event)
    if about_order is not None:
        rows.append(("order_events", _order_event(about_order, row, goals, event.get("properties") or _NOTHING, where)))
    if about_order is None or about_order.kind not in REPORTS:
        rows.extend(("conversions", _conversion(goal, row, where)) for goal in goals)
    return rows


def _doubt(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"time_doubtful": 1} if "time_doubtful" in row else _NOTHING


def _conversion(goal: str, row: Mapping[str, Any], where: Geography) -> bytes:
    return json_bytes(
        {
            "conversion_id": row["conversion_id"],
            "conversion_type": goal,
            **_doubt(row),
            "converted_at": row["occurred_at"],
            "event_id": row["event_id"],
            "channel": row["channel"],
            "source": row["source"],
            "anchor": row["anchor"],
            "profile_id": row["profile_id"],
            "identity_version": row["identity_version"],
            "revenue": row.get("revenue", "0"),
            "currency": row.get("currency", ""),
            "received_at": row["received_at"],
            **where._asdict(),
        }
    )


def _order_event(
    found: OrderEvent,
    row: Mapping[str, Any],
    goals: list[str],
    properties: Mapping[str, Any],
    where: Geography,
) -> bytes:
    is_report = found.kind in REPORTS
    written: dict[str, Any] = {
        **{name: row[name] for name in _ORDER_COLUMNS},
        "kind": found.kind,
        "conversion_id": found.key,
        "order_namespace": found.namespace,
        "order_id": found.order_id,
        "part_id": found.part_id,
        "claims": order_key(found.namespace, found.receipt_id) if found.receipt_id else "",
        "goals": goals if is_report else [],
        **where._asdict(),
        "authority": found.authority,
        "amount": None if found.amount is None else plain(found.amount),
        "refunded_total": None if found.refunded_total is None else plain(found.refunded_total),
        "currency": found.currency,
        "discounted": int(found.discounted),
        "is_return": int(found.is_return),
        **_doubt(row),
    }
    if is_report and (products := properties.get("products")):
        written["products"] = products
    return json_bytes(written)


def _product_facts(event: Mapping[str, Any]) -> list[Row]:
    stated = {
        **{name: event[name] for name in ("occurred_at", "source", "event_id")},
        "delivery": MAX_UINT64 - ms_of_text(event["received_at"]),
    }
    return [
        (
            "product_facts",
            json_bytes(
                {
                    "product_id": fact.product_id,
                    "fact": fact.key.name,
                    "market": fact.key.market,
                    "currency": fact.key.currency,
                    "store_id": fact.key.store_id,
                    "value": fact.value,
                    **stated,
                }
            ),
        )
        for fact in facts_of(event)
    ]


def _message(row: dict[str, Any], properties: Mapping[str, Any]) -> list[Row]:
    message_id = _text(properties.get("message_id"))
    if not message_id or "bot" in row.get("enrichment", ()):
        return []
    kind, step = message_step(row["event"], properties)
    if step is None:
        return []
    written = {
        "message_id": message_id,
        "kind": kind,
        "anchor": row["anchor"],
        "profile_id": row["profile_id"],
        "campaign": row.get("campaign", ""),
        "creative": row.get("creative", ""),
        "journey_id": _text(properties.get("journey_id")),
        f"{step}_at": row["occurred_at"],
    }
    return [("messages", json_bytes(written))]


def _revenue_text(properties: Mapping[str, Any]) -> str:
    usual = properties.get("revenue")
    if type(usual) is str and _USUAL_MONEY.fullmatch(usual):
        return usual
    found = revenue(properties)
    return "0" if found is None else plain(found)


def _text(value: object) -> str:
    """Return a text as it is and anything else as empty: custom events may have any value there."""
    if type(value) is str:
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""
