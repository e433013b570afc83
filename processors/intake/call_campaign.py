"""Reads the campaign of an event: what its producer has parsed, completed from the page's address as that was meant.

Links are broken on their way into mails and pages: an `&` is escaped as HTML once or twice, a parameter is added with a
second `?`, or all of them come after the `#`. Each has one meaning, so the parameters are read all the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

_UTM = {"utm_source": "source", "utm_medium": "medium", "utm_campaign": "name", "utm_term": "term",
        "utm_content": "content", "utm_id": "id"}  # fmt: skip
_UTM_NAMES = frozenset(_UTM)
_PAGE_VIEWED = "Page Viewed"
_NOTHING = (None, "")
_MAX_ADDRESS_CHARS = 8192
_MAX_CAMPAIGN_CHARS = 500  # a longer UTM parameter of a page's address is cut, not refused
_ESCAPED_AND = re.compile(r"&?#(?:0*38|x26);|&(?:amp;)+", re.IGNORECASE)
# A parameter that a tool has added behind another `?`, or behind `;`, which old mailing tools wrote for `&`.
_SECOND_START = re.compile(
    r"[?;](?=(?:utm_|gad_|[a-z_]{1,12}clid=|[gw]braid=|srsltid=|mc_[ce]id=))", re.IGNORECASE
)  # fmt: skip
_NAME = re.compile(r"(?:.*[;!/?\s])?(utm_[a-z]+)", re.IGNORECASE | re.DOTALL)


def campaign_of_call(campaign: object, page: object, properties: object) -> object:
    """Read a call's campaign.

    Args:
        campaign: The call's `context.campaign`; any JSON value. What it says is never changed.
        page: Its `context.page`, whose address completes the campaign, unless the two contradict each other.
        properties: Its `properties`: their `campaign` counts if the context has none, as in `Install Attributed`.

    Returns:
        The campaign; None if there is none. A value that is no object is passed on for validation.
    """
    if not campaign:
        campaign = _stated_in(properties)
    if not isinstance(campaign, dict):
        return campaign
    found: dict[str, Any] = campaign
    if not _UTM_NAMES.isdisjoint(found):  # an SDK that has parsed only some of the names
        parsed = {_UTM[utm]: found[utm] for utm in _UTM if isinstance(found.get(utm), str)}
        found = _completed(found, parsed)
    if isinstance(page, dict):
        for address in (page.get("search"), page.get("url")):
            if isinstance(address, str) and ("utm_" in address or "UTM_" in address):
                found = _completed(found, _campaign_of_address(address[:_MAX_ADDRESS_CHARS]))
    return found or None


def with_campaign_of_page(event: dict[str, Any]) -> dict[str, Any]:
    """Complete the campaign of a touchpoint from the address of its page, as `campaign_of_call` does for SDKs.

    Args:
        event: A parsed touchpoint that is not validated yet; it is left alone. The page is `context.page`; of a
            `Page Viewed` that has none, the properties are the page, as Segment's calls have it.

    Returns:
        A changed copy; the very event if its page names no campaign that it lacks.
    """
    context = event.get("context")
    page = context.get("page") if isinstance(context, dict) else None
    if page is None and event.get("event") == _PAGE_VIEWED:
        page = event.get("properties")
    if not isinstance(page, dict):
        return event
    campaign = event.get("campaign")
    found = campaign_of_call(campaign, page, None)
    return event if found is None or found is campaign else {**event, "campaign": found}


def _completed(campaign: dict[str, Any], more: Mapping[str, str]) -> dict[str, Any]:
    """Add to a campaign what it lacks; nothing if the two contradict each other."""
    missing = [name for name, value in more.items() if value and campaign.get(name) in _NOTHING]
    if not missing or not all(
        campaign.get(name) in _NOTHING or str(campaign[name]).casefold() == value.casefold()
        for name, value in more.items()
    ):
        return campaign
    return {**campaign, **{name: more[name] for name in missing}}


def _stated_in(properties: object) -> dict[str, Any]:
    """The campaign among the properties, as far as a campaign's fields can hold it."""
    stated = properties.get("campaign") if isinstance(properties, dict) else None
    if not isinstance(stated, dict):
        return {}
    return {name: value for name, value in stated.items() if isinstance(value, str) and 0 < len(value) <= 500}


@lru_cache(maxsize=512)  # the calls of a visit share their addresses
def _campaign_of_address(address: str) -> Mapping[str, str]:
    """Read the UTM parameters of an address, or of its query; those behind the `#` only if no other ones are there."""
    address = _SECOND_START.sub("&", _ESCAPED_AND.sub("&", address))
    before, _, fragment = address.partition("#")
    return _utm_parameters(before) or _utm_parameters(fragment)


def _utm_parameters(text: str) -> dict[str, str]:
    """Read parameters; before the name of the first one there may be the rest of an address."""
    found: dict[str, str] = {}
    for name, value in parse_qsl(text, errors="replace"):
        utm = _NAME.fullmatch(name)
        field = _UTM.get(utm[1].lower()) if utm else None
        if field is not None:
            found.setdefault(field, value[:_MAX_CAMPAIGN_CHARS])
    return found
