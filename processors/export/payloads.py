"""The form in which each network takes one export; the request around it is the adapter's (`sinks/channels`).

* Meta, Conversions API: https://developers.facebook.com/docs/marketing-api/conversions-api/parameters
* Google, Data Manager API: https://developers.google.com/data-manager/api/reference/rest/v1/events/ingest; adjustments:
  https://developers.google.com/google-ads/api/reference/rpc/latest/ConversionAdjustment
* TikTok, Events API 2.0: https://business-api.tiktok.com/portal/docs
* Microsoft, UET Conversions API: https://learn.microsoft.com/en-us/advertising/guides/uet-conversion-api-integration
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from processors.export.identifiers import MatchKeys
from schemas.export.destinations import Destination, Through
from schemas.export.exports import Conversion, ExportKind
from schemas.money import EXPONENTS, plain
from schemas.time import text_of_ms

Body = dict[str, Any]


class Statement(NamedTuple):
    """What is told of a conversion.

    Attributes:
        kind: What it is.
        name: What the event is called there.
        event_id: Names it.
        adjusts: The `event_id` that it adjusts; empty: it is a conversion.
        conversion: The conversion.
        keys: What identifies the person.
        value: Its value now; of a refund where values cannot be changed, what was given back. None: it has none.
        currency: Of the value.
        at_ms: When it happened: the conversion; of an adjustment, now.
    """

    kind: ExportKind
    name: str
    event_id: str
    adjusts: str
    conversion: Conversion
    keys: MatchKeys
    value: Decimal | None
    currency: str
    at_ms: int


def body_of(destination: Destination, stated: Statement) -> Body:
    """Return what the destination takes for one export."""
    return _BODIES[destination.through](destination, stated)


def _meta(_: Destination, stated: Statement) -> Body:
    context, where = stated.conversion.context, stated.conversion.channel
    agent, url = _text(context, "user_agent"), _page_url(context)
    user: Body = {"em": list(stated.keys.emails), "ph": list(stated.keys.phones)}
    if stated.keys.clicks:
        click = stated.keys.clicks[0]
        user["fbc"] = f"fb.1.{click.at_ms}.{click.value}"
    user |= {"client_user_agent": agent, "client_ip_address": _text(context, "ip")}
    # Of a website, Meta requires the browser and the page: an order that a server told has neither.
    source = _META_SOURCES.get(where, "other")
    if source == "website" and not (agent and url):
        source = "other"
    data: Body = {"order_id": stated.conversion.order_id, "currency": stated.currency, "value": _number(stated)}
    return _filled(
        {
            "event_name": stated.name,
            "event_time": stated.at_ms // 1000,
            "event_id": stated.event_id,
            "action_source": source,
            "event_source_url": url if source == "website" else "",
            "user_data": _filled(user),
            "custom_data": _filled(data),
        }
    )


def _tiktok(_: Destination, stated: Statement) -> Body:
    context = stated.conversion.context
    user: Body = {"email": list(stated.keys.emails), "phone": list(stated.keys.phones)}
    if stated.keys.clicks:
        user["ttclid"] = stated.keys.clicks[0].value
    user |= {"user_agent": _text(context, "user_agent"), "ip": _text(context, "ip")}
    properties = {"order_id": stated.conversion.order_id, "currency": stated.currency, "value": _number(stated)}
    return _filled(
        {
            "event": stated.name,
            "event_time": stated.at_ms // 1000,
            "event_id": stated.event_id,
            "user": _filled(user),
            "properties": _filled(properties),
            "page": _filled({"url": _page_url(context)}),
        }
    )


def _microsoft(_: Destination, stated: Statement) -> Body:
    context = stated.conversion.context
    user: Body = {"em": next(iter(stated.keys.emails), ""), "ph": next(iter(stated.keys.phones), "")}
    if stated.keys.clicks:
        user["msclkid"] = stated.keys.clicks[0].value
    user |= {"clientUserAgent": _text(context, "user_agent"), "clientIpAddress": _text(context, "ip")}
    data = {"transactionId": stated.conversion.order_id, "currency": stated.currency, "value": _number(stated)}
    return _filled(
        {
            "eventType": "custom",
            "eventName": stated.name,
            "eventId": stated.event_id,
            "eventTime": stated.at_ms // 1000,
            "eventSourceUrl": _page_url(context),
            "adStorageConsent": "G",  # nothing is sent of who has not agreed
            "userData": _filled(user),
            "customData": _filled(data),
        }
    )


def _google(destination: Destination, stated: Statement) -> Body:
    account = destination.google.customer_id if destination.google is not None else ""
    addresses = [*stated.keys.emails], [*stated.keys.phones]
    if stated.kind != "conversion":
        adjustment: Body = {
            "conversionAction": f"customers/{account}/conversionActions/{stated.name}",
            "orderId": stated.adjusts,
            "adjustmentDateTime": _date_time(stated.at_ms),
        }
        if stated.kind == "match":
            users = [
                *({"hashedEmail": one} for one in addresses[0]),
                *({"hashedPhoneNumber": one} for one in addresses[1]),
            ]
            return adjustment | {"adjustmentType": "ENHANCEMENT", "userIdentifiers": users}
        if not stated.value:
            return adjustment | {"adjustmentType": "RETRACTION"}
        value = {"adjustedValue": _number(stated), "currencyCode": stated.currency}
        return adjustment | {"adjustmentType": "RESTATEMENT", "restatementValue": value}
    users = [*({"emailAddress": one} for one in addresses[0]), *({"phoneNumber": one} for one in addresses[1])]
    clicks = {stated.keys.clicks[0].name: stated.keys.clicks[0].value} if stated.keys.clicks else {}
    return _filled(
        {
            "destinationReferences": [stated.name],
            "transactionId": stated.event_id,
            "eventTimestamp": text_of_ms(stated.at_ms),
            "eventSource": _GOOGLE_SOURCES.get(stated.conversion.channel, "OTHER"),
            "adIdentifiers": clicks,
            "userData": {"userIdentifiers": users} if users else {},
            "currency": stated.currency if stated.value is not None else "",
            "conversionValue": _number(stated),
            "consent": {"adUserData": "CONSENT_GRANTED", "adPersonalization": "CONSENT_GRANTED"},
        }
    )


def _plain_json(destination: Destination, stated: Statement) -> Body:
    conversion = stated.conversion
    return {
        "destination": destination.name,
        "kind": stated.kind,
        "event": stated.name,
        "event_id": stated.event_id,
        "adjusts": stated.adjusts or None,
        "goal": conversion.goal,
        "conversion_id": conversion.conversion_id,
        "order_id": conversion.order_id or None,
        "profile_id": conversion.profile_id,
        "occurred_at": text_of_ms(conversion.converted_ms),
        "exported_at": text_of_ms(stated.at_ms) if stated.adjusts else None,
        "channel": conversion.channel,
        "market": conversion.market or None,
        "value": None if stated.value is None else plain(stated.value.normalize()),
        "currency": stated.currency or None,
        "email_sha256": list(stated.keys.emails),
        "phone_sha256": list(stated.keys.phones),
        "click_ids": {click.name: click.value for click in stated.keys.clicks},
    }


_META_SOURCES = {
    "web": "website", "store": "physical_store", "call_center": "phone_call", "email": "email", "chat": "chat",
    "whatsapp": "business_messaging", "messenger": "business_messaging",
}  # fmt: skip
_GOOGLE_SOURCES = {"web": "WEB", "app": "APP", "store": "IN_STORE", "call_center": "PHONE"}
_BODIES: Mapping[Through, Callable[[Destination, Statement], Body]] = {
    "meta": _meta,
    "google": _google,
    "tiktok": _tiktok,
    "microsoft": _microsoft,
    "webhook": _plain_json,
    "topic": _plain_json,
}


def _filled(body: Body) -> Body:
    """Leave out what is empty: networks take a missing field, and refuse an empty one."""
    return {name: value for name, value in body.items() if value not in (None, "", [], {})}


def _number(stated: Statement) -> float | None:
    """Return the value as JSON has it, networks take numbers alone: a dinar of Kuwait has three places."""
    return None if stated.value is None else float(round(stated.value, max(2, EXPONENTS.get(stated.currency, 2))))


def _text(context: Mapping[str, Any], name: str) -> str:
    value = context.get(name)
    return value if isinstance(value, str) else ""


def _page_url(context: Mapping[str, Any]) -> str:
    page = context.get("page")
    url = _text(page, "url") if isinstance(page, dict) else ""
    return url if url.startswith(("https://", "http://")) else ""


def _date_time(at_ms: int) -> str:
    """Write a time as the Google Ads API takes it, in whole seconds."""
    return text_of_ms(at_ms)[:19].replace("T", " ") + "+00:00"
