"""The shape of `deploy/definitions/bots.yaml`, and the reasons for which an event is a bot's.

A verdict never deletes anything: the event is stored with its reason, and views leave it out.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

UserAgentReason = Literal[
    "crawler", "ai_crawler", "link_preview", "monitoring", "scanner", "mail_scanner", "automation", "library"
]
"""What a user agent shows: a program that reads pages, and what for.

`link_preview`: a messenger or social network that draws a preview. `scanner`: a search for vulnerabilities.
`mail_scanner`: a mail filter that follows links. `automation`: a browser that a program drives. `library`: an HTTP
client of a programming language, which loads no pages.
"""

BotReason = Literal[UserAgentReason, "no_user_agent", "provider", "prefetch"]
"""Why an event is a bot's, as far as the event alone shows.

`no_user_agent`: a page's call without a user agent. `provider`: the sender of a message says that no person opened or
clicked it. `prefetch`: Apple's Mail Privacy Protection loaded a message.
"""

NO_USER_AGENT = "(none)"
"""User agent of a call to a browser's source whose request had none; every browser sends one."""

FACTS: Final = frozenset(
    {
        "Order Completed", "Order Updated", "Order Refunded", "Order Cancelled", "Receipt Issued", "Consent Updated",
        "Loyalty Points Earned", "Loyalty Points Redeemed", "Product Updated", "Price Changed", "Stock Changed",
        "Coupon Issued",
    }
)  # fmt: skip
"""Events that are true whoever reports them, so that no verdict is made: an assistant that buys for a person buys."""

Part = Annotated[str, StringConstraints(min_length=3, max_length=200, pattern=r"\S")]


class BotDefinitions(BaseModel):
    """What the operator knows better than the list that ships. A part of a user agent is found in any case of letters.

    Attributes:
        people: Parts of user agents that are no bot's here, such as those of one's own monitoring.
        bots: Parts of further user agents that are, by reason. Those of `people` go before.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    people: Annotated[tuple[Part, ...], Field(max_length=1000)] = ()
    bots: dict[UserAgentReason, Annotated[tuple[Part, ...], Field(max_length=1000)]] = {}
