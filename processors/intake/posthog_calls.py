"""Translates an event of PostHog's SDKs into the calls of `segment_calls.py`, which gives it the rights of its source.

Fields are those that posthog-js, -node and -python send (https://posthog.com/docs/api/capture). A value of the wrong
type is passed on as it is, so that it is refused under its name. What PostHog's own fields (`$…`) say and no field of a
call holds is kept in `context.posthog`, without the `$`. So is `$device_id`: it outlives a sign-out, and PostHog joins
nobody by it, since the next person on a device is another one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from processors.intake.segment_calls import GROUP_UPDATED, Arrival, CallAndVerb

FIELD_NAMES = {
    "userId": "distinct_id", "anonymousId": "distinct_id", "previousId": "properties.alias", "messageId": "uuid",
    "groupId": "properties.$group_key", "traits": "$set",
    "context.sessionId": "properties.$session_id", "context.timezone": "properties.$timezone",
    "context.locale": "properties.$browser_language", "context.page.url": "properties.$current_url",
    "context.page.referrer": "properties.$referrer", "context.userAgent": "properties.$raw_user_agent",
}  # fmt: skip
"""PostHog's field for each field of a call that is named differently."""

_CONTEXT = {
    "sessionId": ("$session_id",),
    "timezone": ("$timezone",),
    "locale": ("$browser_language", "$locale"),
    "userAgent": ("$raw_user_agent", "$useragent"),
    "ip": ("$ip",),
    "groups": ("$groups",),
}
_PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "device": {"type": ("$device_type",), "model": ("$device_model",),
               "manufacturer": ("$device_manufacturer",), "name": ("$device_name",)},
    "os": {"name": ("$os", "$os_name"), "version": ("$os_version",)},
    "app": {"name": ("$app_name",), "version": ("$app_version",), "build": ("$app_build",),
            "namespace": ("$app_namespace",)},
    "library": {"name": ("$lib",), "version": ("$lib_version",)},
    "screen": {"width": ("$screen_width",), "height": ("$screen_height",)},
    "page": {"url": ("$current_url",), "path": ("$pathname",), "referrer": ("$referrer",),
             "title": ("title", "$title")},
}  # fmt: skip
_UTM = {"source": "utm_source", "medium": "utm_medium", "name": "utm_campaign", "term": "utm_term",
        "content": "utm_content", "id": "utm_id"}  # fmt: skip
# posthog-js keeps the campaign parameters of the last tagged page for ever and adds them to every later event.
_CARRIED = frozenset(
    {
        "gclid", "gclsrc", "dclid", "gbraid", "wbraid", "fbclid", "msclkid", "twclid", "igshid", "ttclid", "rdt_cid",
        "epik", "qclid", "sccid", "irclid", "li_fat_id", "_kx", "mc_cid", "gad_source", "oppref", "bfcid",
    }
)  # fmt: skip
_READ = frozenset(
    {
        "$set", "$set_once", "$anon_distinct_id", "$group_type", "$group_key", "$group_set", "$user_id",
        "$insert_id", "$token", "$is_identified", "$process_person_profile", "$screen_name",
        *(name for names in _CONTEXT.values() for name in names),
        *(name for part in _PARTS.values() for names in part.values() for name in names if name.startswith("$")),
    }
)  # fmt: skip
_OF_THE_SDK = ("$sdk_", "$lib_", "$config", "$initialization_time", "$recording_status", "$time")
# Where no person is named, posthog-python makes up a UUID for each update of a group.
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NOT_A_PERSON = frozenset({"$posthog_cookieless", "$posthog_cklsh"})
_NO_REFERRER = "$direct"


def calls_of_event(event: object, arrival: Arrival) -> list[CallAndVerb]:
    """Translate an event.

    Args:
        event: One event, any JSON value.
        arrival: When it came in, and when its batch was sent by the client's clock.

    Returns:
        Its calls and their verbs: one, and an `identify` where an event of another kind sets traits of its person.
    """
    if not isinstance(event, dict):
        return [(event, "track")]
    found = event.get("properties")
    properties: dict[str, Any] = found if isinstance(found, dict) else {}
    distinct_id = _first(event, properties, "distinct_id", "$distinct_id")
    traits, once = _first(event, properties, "$set"), _first(event, properties, "$set_once")
    name = event.get("event")
    call = {
        **_person(distinct_id, properties),
        **_sending(event, properties, arrival),
        "context": _context(properties, once),
    }
    verb = _VERBS.get(name, "track") if isinstance(name, str) else "track"
    if verb == "identify":
        return [({**call, "traits": traits}, verb)]
    own = _call_of_verb(call, verb, name, distinct_id, properties, found)
    # A group without a person in it is no call of a group: the event that it becomes has a name.
    calls: list[CallAndVerb] = [(own, "track" if "event" in own else verb)]
    if isinstance(traits, dict) and traits:
        calls.append(({**call, "messageId": _id_of_traits(call["messageId"], arrival), "traits": traits}, "identify"))
    return calls


_VERBS = {"$identify": "identify", "$set": "identify", "$create_alias": "alias", "$merge_dangerously": "alias",
          "$groupidentify": "group", "$pageview": "page", "$screen": "screen"}  # fmt: skip


def _call_of_verb(
    call: dict[str, Any], verb: str, name: object, distinct_id: object, properties: dict[str, Any], found: object
) -> dict[str, Any]:
    """Add to a call what its verb is about; a `track` has an `event`."""
    if verb == "alias":
        person = properties.get("distinct_id")
        return {**call, "userId": distinct_id if person is None else person, "anonymousId": None,
                "previousId": properties.get("alias")}  # fmt: skip
    if verb == "group":
        return _group(call, distinct_id, properties)
    if verb == "track":
        return {**call, "event": name, "properties": _own(properties) if isinstance(found, dict) else found}
    page: dict[str, Any] = call["context"].get("page", {}) if verb == "page" else {}
    own = {**page, **_own(properties)}
    return {**call, "name": properties.get("$screen_name") if verb == "screen" else None, "properties": own}


def _group(call: dict[str, Any], distinct_id: object, properties: dict[str, Any]) -> dict[str, Any]:
    """A person is in a group, or, where the SDK has made an id of the group itself, the group alone has changed."""
    kind, key = properties.get("$group_type"), properties.get("$group_key")
    traits = properties.get("$group_set")
    traits = {"group_type": kind, **traits} if isinstance(traits, dict) else traits
    made = distinct_id in (None, f"${kind}_{key}", f"{kind}_{key}") or (
        properties.get("$lib") == "posthog-python" and isinstance(distinct_id, str) and _UUID.fullmatch(distinct_id)
    )
    if not made:
        return {**call, "groupId": key, "traits": traits}
    unowned = {**call, "userId": None, "anonymousId": None}
    return {**unowned, "event": GROUP_UPDATED, "properties": {"group_id": key, "traits": traits}}


def _person(distinct_id: object, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ids of the person: `distinct_id` is that of an account or of a device, and the SDK knows which."""
    if isinstance(distinct_id, str) and distinct_id in _NOT_A_PERSON:
        return {"userId": None, "anonymousId": None}
    if isinstance(distinct_id, float) and distinct_id.is_integer():
        distinct_id = int(distinct_id)
    if _is_anonymous(distinct_id, properties):
        return {"userId": None, "anonymousId": distinct_id}
    anonymous = properties.get("$anon_distinct_id")
    return {"userId": distinct_id, "anonymousId": None if anonymous == distinct_id else anonymous}


def _is_anonymous(distinct_id: object, properties: Mapping[str, Any]) -> bool:
    if properties.get("$is_identified") is False or properties.get("$process_person_profile") is False:
        return True
    device = properties.get("$device_id")
    if device is None or properties.get("$anon_distinct_id") is not None or properties.get("$is_identified") is True:
        return False
    # Older SDKs of browsers name the account in `$user_id` once they know it.
    return bool(device == distinct_id or properties.get("$user_id") is None)


def _sending(event: Mapping[str, Any], properties: Mapping[str, Any], arrival: Arrival) -> dict[str, Any]:
    """Return the call's id and times; `offset` says how many milliseconds before its sending an event happened."""
    message_id = _first(event, properties, "uuid", "$insert_id")
    stated = _first(event, properties, "timestamp")
    offset = event.get("offset")
    times = {"timestamp": stated, "sentAt": _first(event, {}, "sent_at")}
    if stated is None and isinstance(offset, int | float) and 0 <= offset < 1e12:
        happened = arrival.received - timedelta(milliseconds=offset)
        times = {"timestamp": happened.isoformat(), "sentAt": arrival.received.isoformat()}
    return {"messageId": message_id, **times}


def _id_of_traits(message_id: object, arrival: Arrival) -> str:
    """The id of the `identify` that an event brings along: derived, so that a second delivery has the same."""
    return f"{message_id if isinstance(message_id, str) and message_id.strip() else arrival.event_id}-set"[:100]


def _context(properties: Mapping[str, Any], once: object) -> dict[str, Any]:
    context: dict[str, Any] = {}
    for name, sources in _CONTEXT.items():
        if (value := _any_of(properties, sources)) is not None:
            context[name] = value
    for part, fields in _PARTS.items():
        values = {name: _any_of(properties, sources) for name, sources in fields.items()}
        if known := {name: value for name, value in values.items() if value is not None}:
            context[part] = known
    if (page := context.get("page")) is not None:
        if page.get("referrer") == _NO_REFERRER:
            del page["referrer"]
        if query := _query(page.get("url")):
            page["search"] = query
    if campaign := _campaign(properties):
        context["campaign"] = campaign
    rest = {
        name[1:]: value
        for name, value in properties.items()
        if name[:1] == "$" and value not in (None, [], {}) and name not in _READ and not name.startswith(_OF_THE_SDK)
    }
    if isinstance(once, dict) and once:
        rest["set_once"] = {name: value for name, value in once.items() if value is not None}
    if rest:
        context["posthog"] = rest
    return context


def _campaign(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the campaign of the page or of its visit; without one, the parameters are those of an old visit."""
    address = properties.get("$current_url")
    names = _UTM
    if isinstance(address, str) and "utm_" not in address.lower():
        names = {name: f"$session_entry_{utm}" for name, utm in _UTM.items()}
    found = {name: properties.get(utm) for name, utm in names.items()}
    return {name: value for name, value in found.items() if value is not None and value != ""}


def _own(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return the properties that are the sender's own, or what an advertising network has added to a link."""
    on_a_page = "$current_url" in properties
    return {
        name: value
        for name, value in properties.items()
        if name[:1] != "$"
        and value is not None
        and name not in ("token", "distinct_id", *_UTM.values())
        and not (on_a_page and (name in _CARRIED or name == "title"))
    }


def _query(address: object) -> str:
    if not isinstance(address, str) or "?" not in address:
        return ""
    try:
        query = urlsplit(address).query
    except ValueError:
        return ""
    return f"?{query}" if query else ""


def _first(event: Mapping[str, Any], properties: Mapping[str, Any], *names: str) -> Any:
    """Return the first of some fields that is given: of the event, else of its properties."""
    for place in (event, properties):
        if (value := _any_of(place, names)) is not None:
            return value
    return None


def _any_of(place: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((place[name] for name in names if place.get(name) is not None), None)
