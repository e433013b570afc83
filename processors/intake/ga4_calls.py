"""Translates the events of GA4's Measurement Protocol into the calls of `segment_calls.py`.

Names and parameters are those of Google's reference (https://developers.google.com/analytics/devguides/collection/
protocol/ga4/reference/events). A recommended e-commerce event becomes the event of Segment's specification that means
the same; an event about several products of which Segment's is about one becomes one event a product. What has no
counterpart stays a custom event under its own name, with its parameters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import blake2b
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from processors.intake.json_text import json_of
from processors.intake.segment_calls import Arrival, CallAndVerb
from schemas.time import text_of_ms

FIELD_NAMES = {
    "userId": "user_id", "anonymousId": "client_id", "timestamp": "timestamp_micros", "traits": "user_properties",
    "event": "name", "properties.order_id": "params.transaction_id", "properties.products": "params.items",
    "properties.revenue": "params.value", "properties.list_id": "params.item_list_id",
    "properties.payment_method": "params.payment_type", "properties.shipping_method": "params.shipping_tier",
    "properties.query": "params.search_term", "properties.url": "params.page_location",
    "properties.referrer": "params.page_referrer", "properties.title": "params.page_title", "properties": "params",
    "context.sessionId": "params.session_id",
}  # fmt: skip
"""GA4's field for each field of a call that is named differently."""

_ORDER = {"transaction_id": "order_id", "value": "revenue"}
_EVENTS: dict[str, tuple[str, dict[str, str]]] = {
    "purchase": ("Order Completed", _ORDER),
    "refund": ("Order Refunded", _ORDER),
    "begin_checkout": ("Checkout Started", {}),
    "add_shipping_info": ("Checkout Step Completed", {"shipping_tier": "shipping_method"}),
    "add_payment_info": ("Payment Info Entered", {"payment_type": "payment_method"}),
    "view_cart": ("Cart Viewed", {}),
    "view_item_list": ("Product List Viewed", {"item_list_id": "list_id", "item_list_name": "category"}),
    "view_promotion": ("Promotion Viewed", {"promotion_name": "name", "creative_name": "creative",
                                            "creative_slot": "position"}),
    "select_promotion": ("Promotion Clicked", {"promotion_name": "name", "creative_name": "creative",
                                               "creative_slot": "position"}),
    "search": ("Products Searched", {"search_term": "query"}),
    "view_search_results": ("Products Searched", {"search_term": "query"}),
    "sign_up": ("Signed Up", {}),
    "login": ("Signed In", {}),
    "first_open": ("Application Installed", {}),
    "app_update": ("Application Updated", {"previous_app_version": "previous_version"}),
}  # fmt: skip
_OF_ONE_PRODUCT = {
    "view_item": "Product Viewed",
    "select_item": "Product Clicked",
    "add_to_cart": "Product Added",
    "remove_from_cart": "Product Removed",
    "add_to_wishlist": "Product Added to Wishlist",
}
_PRODUCT = {"item_id": "product_id", "item_name": "name", "item_brand": "brand", "item_variant": "variant",
            "index": "position", "item_list_id": "list_id"}  # fmt: skip
_CATEGORIES = ("item_category", "item_category2", "item_category3", "item_category4", "item_category5")
_PAGE = {"page_location": "url", "page_referrer": "referrer", "page_title": "title"}
_SESSION = ("ga_session_id", "session_id")
_CAMPAIGN = {"source": "source", "medium": "medium", "campaign": "name", "term": "term", "content": "content",
             "campaign_id": "id"}  # fmt: skip
_DEVICE = {"category": "type", "model": "model", "brand": "manufacturer"}
_KEPT = ("user_data", "non_personalized_ads", "user_location", "device")


class RequestEvent(NamedTuple):
    """One event of a request.

    Attributes:
        common: What the request says of all its events.
        event: The event; None if the request has none, as one that only sets `user_properties`.
        number: Its place in the request, from 0.
    """

    common: Mapping[str, Any]
    event: object
    number: int


def events_of_body(body: Mapping[str, Any]) -> list[RequestEvent]:
    """List the events of a request; the first of them has its `user_properties`."""
    common = {name: value for name, value in body.items() if name != "events"}
    events = body.get("events")
    found: list[object] = list(events) if isinstance(events, list) else [events] if events is not None else []
    others = _without_traits(common)
    listed = [RequestEvent(others if number else common, event, number) for number, event in enumerate(found)]
    return listed or [RequestEvent(common, None, 0)]


def calls_of_event(item: RequestEvent, arrival: Arrival) -> list[CallAndVerb]:
    """Translate an event of `events_of_body`.

    Args:
        item: The event.
        arrival: When it came in.

    Returns:
        Its calls and their verbs. The first event of a request brings an `identify` along if the request has
        `user_properties`.
    """
    common, event, _ = item
    if event is not None and not isinstance(event, dict):
        return [(event, "track")]
    parameters = (event or {}).get("params")
    params: dict[str, Any] = parameters if isinstance(parameters, dict) else {}
    call = _head(common, event or {}, params)
    message_id = _message_id(item, arrival)
    calls: list[CallAndVerb] = []
    if event is not None:
        for number, (more, verb) in enumerate(_calls(event.get("name"), params, parameters)):
            calls.append(({**call, **more, "messageId": message_id if number == 0 else f"{message_id}-{number}"}, verb))
    if traits := _traits(common.get("user_properties")):
        calls.append(({**call, "traits": traits, "messageId": f"{message_id}-user"}, "identify"))
    return calls or [({**call, "event": None, "messageId": message_id}, "track")]


def _head(common: Mapping[str, Any], event: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a call that says who and when."""
    micros = event.get("timestamp_micros")
    anonymous = common.get("client_id")
    return {
        "userId": common.get("user_id"),
        "anonymousId": common.get("app_instance_id") if anonymous is None else anonymous,
        "timestamp": _time(common.get("timestamp_micros") if micros is None else micros),
        "context": _context(common, event, params),
    }


def _calls(name: object, params: dict[str, Any], parameters: object) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield what is special to each call of an event, and its verb."""
    if not isinstance(name, str) or not (parameters is None or isinstance(parameters, dict)):
        yield {"event": name, "properties": parameters}, "track"
    elif name in ("page_view", "screen_view"):
        own = _rest(params)
        page = {**_page(params), "name": params.get("screen_name")}
        shown = {key: value for key, value in {**own, **page}.items() if value is not None}
        yield {"properties": shown}, "page" if name == "page_view" else "screen"
    elif name in _OF_ONE_PRODUCT and isinstance(items := params.get("items"), list) and items:
        own = {key: value for key, value in _rest(params).items() if key != "items"}
        if len(items) > 1:
            own.pop("value", None)  # that of all of them
        for one in items:
            product = _product(one)
            properties = {**own, **product} if isinstance(product, dict) else product
            yield {"event": _OF_ONE_PRODUCT[name], "properties": properties}, "track"
    elif known := _EVENTS.get(name):
        event, names = known
        properties = {names.get(key, key): value for key, value in _rest(params).items()}
        if isinstance(items := properties.pop("items", None), list):
            properties["products"] = [_product(one) for one in items]
        elif items is not None:
            properties["products"] = items
        yield {"event": event, "properties": properties}, "track"
    else:
        yield {"event": _OF_ONE_PRODUCT.get(name, name), "properties": _rest(params)}, "track"


def _product(item: object) -> object:
    """Return an item as a product of Segment's specification; further fields keep their names."""
    if not isinstance(item, dict):
        return item
    product = {_PRODUCT.get(name, name): value for name, value in item.items() if name not in _CATEGORIES}
    levels = [item[name] for name in _CATEGORIES if item.get(name) not in (None, "")]
    if levels:
        product["category"] = "/".join(levels) if all(isinstance(one, str) for one in levels) else levels
    return product


def _rest(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters without those that have become part of the context."""
    taken = (*_SESSION, *_PAGE)
    return {name: value for name, value in params.items() if name not in taken and value is not None}


def _page(params: Mapping[str, Any]) -> dict[str, Any]:
    page = {name: params[parameter] for parameter, name in _PAGE.items() if params.get(parameter) is not None}
    address = page.get("url")
    if isinstance(address, str):
        try:
            parts = urlsplit(address)
        except ValueError:
            return page
        page |= {"path": parts.path or "/", **({"search": f"?{parts.query}"} if parts.query else {})}
    return page


def _context(common: Mapping[str, Any], event: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    context: dict[str, Any] = {"library": {"name": "ga4-measurement-protocol"}}
    session = next((params[name] for name in _SESSION if params.get(name) is not None), None)
    if session is not None:
        context["sessionId"] = str(session) if type(session) in (int, float) else session
        if type(session) is float and session.is_integer():
            context["sessionId"] = str(int(session))
    if page := _page(params):
        context["page"] = page
    campaign = {name: params[key] for key, name in _CAMPAIGN.items() if params.get(key) is not None}
    if campaign and (event.get("name") == "campaign_details" or "campaign" in params or "medium" in params):
        context["campaign"] = campaign
    for name, key in (("ip", "ip_override"), ("userAgent", "user_agent")):
        if common.get(key):
            context[name] = common[key]
    context |= _places(common)
    if answers := _consent(common.get("consent")):
        context["consent"] = {"categoryPreferences": answers}
    kept = {name: common[name] for name in (*_KEPT, "consent") if common.get(name) is not None}
    if kept:
        context["ga4"] = kept
    return context


def _places(common: Mapping[str, Any]) -> dict[str, Any]:
    """Return the device and the place that a server states for its client."""
    found: dict[str, Any] = {}
    device, place = common.get("device"), common.get("user_location")
    if isinstance(device, dict):
        known = {name: device[key] for key, name in _DEVICE.items() if device.get(key)}
        system = {
            name: device[key]
            for key, name in (("operating_system", "name"), ("operating_system_version", "version"))
            if device.get(key)
        }
        found |= {part: values for part, values in (("device", known), ("os", system)) if values}
        if device.get("language"):
            found["locale"] = device["language"]
    if isinstance(place, dict):
        geo = {
            name: place[key]
            for key, name in (("country_id", "country"), ("region_id", "region"), ("city", "city"))
            if place.get(key)
        }
        found |= {"geo": geo} if geo else {}
    return found


def _consent(consent: object) -> dict[str, bool]:
    """Return GA4's answers as categories of a banner; `consent` of the source says what they mean."""
    if not isinstance(consent, dict):
        return {}
    return {str(name): value == "GRANTED" for name, value in consent.items() if value in ("GRANTED", "DENIED")}


def _traits(properties: object) -> dict[str, Any]:
    """Return user properties, each of them `{"value": …}`, as traits."""
    if not isinstance(properties, dict):
        return {}
    found = {name: one.get("value") if isinstance(one, dict) else one for name, one in properties.items()}
    return {name: value for name, value in found.items() if value is not None}


def _without_traits(common: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in common.items() if name != "user_properties"}


def _time(micros: object) -> object:
    """Write microseconds since 1970 as a text; anything else is passed on, and judged as a time."""
    if isinstance(micros, str) and micros.isascii() and micros.isdigit() and len(micros) <= 17:
        micros = int(micros)
    if type(micros) not in (int, float):
        return micros
    try:
        return text_of_ms(int(micros) // 1000)  # type: ignore[call-overload]
    except (OverflowError, ValueError, OSError):
        return str(micros)


def _message_id(item: RequestEvent, arrival: Arrival) -> str:
    """Return the id of an event. The protocol has none: one that states its time is known by its content."""
    common, event, number = item
    stated = isinstance(event, dict) and event.get("timestamp_micros") is not None
    if not stated and common.get("timestamp_micros") is None:
        return arrival.event_id
    content = json_of([common.get("client_id"), common.get("app_instance_id"), common.get("user_id"),
                       common.get("timestamp_micros"), event, number])  # fmt: skip
    return arrival.event_id if content is None else f"ga4-{blake2b(content, digest_size=16).hexdigest()}"
