"""Renders the message of an action for one person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from processors.delivery.actions import Action
from processors.delivery.templates import Templates
from processors.profiles.time_zone import zone_of
from processors.profiles.view import view
from schemas.delivery.templates import Rendered
from schemas.markets import MarketDefinitions
from schemas.territory import ONE_TERRITORY, Territory

RECOMMENDED = 24
"""The most products that are read for a template with recommendations."""


class ProductRecommender(Protocol):
    """Recommends products."""

    async def recommend(self, document: Mapping[str, Any], count: int) -> list[dict[str, Any]]:
        """Return products that the person has not bought, best first."""


class ProductLookup(Protocol):
    """Looks up the product that a message is about."""

    async def card(
        self, context: Mapping[str, Any], document: Mapping[str, Any], markets: MarketDefinitions
    ) -> dict[str, Any] | None:
        """Return the product, with its price for the person; None: the message is about no product."""


class MessageRenderer:
    """Renders messages, with the products that their templates ask for.

    Args:
        recommendations: Recommends products.
        products: Looks up the product that a message is about.
    """

    def __init__(
        self,
        recommendations: ProductRecommender,
        products: ProductLookup,
    ) -> None:
        self._recommendations = recommendations
        self._products = products

    async def render(
        self,
        templates: Templates,
        action: Action,
        document: dict[str, Any],
        unsubscribe_url: str = "",
        coupon: Mapping[str, Any] | None = None,
        territory: Territory = ONE_TERRITORY,
        preferences_url: str = "",
    ) -> Rendered:
        """Render a message.

        Args:
            templates: The texts in force.
            action: Of the topic `actions`, or as much of it as its template uses.
            document: The person's profile.
            unsubscribe_url: The address by which the person unsubscribes; empty: none.
            coupon: The coupon of the message (`coupon_values`); None: it has none.
            territory: The markets, for prices, and the time zone of people whose own is not known.
            preferences_url: Where the person says which channels and topics they want; empty: nowhere.

        Raises:
            TemplateError: The template asks for something that is not known.
        """
        template, channel = action["template"], action["channel"]
        recommended: list[dict[str, Any]] = []
        if templates.recommends(template, channel):
            recommended = await self._recommendations.recommend(document, RECOMMENDED)
        context = dict(action.get("context") or {})
        if coupon is not None:
            context["coupon"] = coupon
        if templates.uses(template, channel, "product"):
            context["product"] = await self._products.card(context, document, territory.markets)
        about = {
            "id": action["idempotency_key"],
            "channel": channel,
            "unsubscribe_url": unsubscribe_url or None,
            "preferences_url": preferences_url or None,
            **{name: action.get(name) for name in ("journey", "step", "campaign", "tags")},
        }
        profile = view(document)
        return templates.render(
            template,
            channel,
            {**context, "profile": profile, "message": about},
            locale=str(action.get("language") or _trait(profile, "locale") or _trait(profile, "language")),
            timezone=zone_of(document, territory).key,
            recommended=recommended,
        )


def _trait(profile: dict[str, Any], name: str) -> str:
    found = profile["traits"].get(name) or profile["known"].get(name)
    return found if isinstance(found, str) else ""
