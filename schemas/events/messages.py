"""Messages that a retailer sends, and what becomes of them.

An event's name is a kind of message and a step: `Email Sent`, `Email Link Clicked`, `SMS Delivered`, `Push Opened`,
`WhatsApp Sent`, `Messenger Message Sent`. `Email Delivered`, `Email Opened`, `Email Link Clicked`, `Email Bounced` and
`Email Marked as Spam` are Segment's own spelling and the others follow it. The longer `WhatsApp Message Sent` is known
too, and so are Segment's `Unsubscribed` (from e-mail) and `Push Notification Received`, `… Tapped`, `… Bounced`. No
name is rewritten: `STEPS` tells what each of them means.

A channel that the deployment has added has events of its own name: `Viber Bounced`, `RCS Delivered`. `named_step` reads
them, and the known channels' events by the channel's name, such as `Telegram Bounced`.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from schemas.channels import KIND_OF_PREFIX, MessageKind
from schemas.events.bounces import BounceClass, bounce_class, stated_class
from schemas.events.properties import Properties
from schemas.text import Id, Name, Text

Step = Literal["sent", "delivered", "opened", "clicked", "replied", "bounced", "failed", "unsubscribed", "complained"]

_STEPS: dict[str, Step] = {
    "Sent": "sent",
    "Delivered": "delivered",
    "Opened": "opened",
    "Link Clicked": "clicked",
    "Replied": "replied",
    "Bounced": "bounced",
    "Failed": "failed",
    "Unsubscribed": "unsubscribed",
    "Marked as Spam": "complained",
}

STEPS: dict[str, tuple[MessageKind, Step]] = {
    **{f"{prefix} {step}": (kind, _STEPS[step]) for prefix, kind in KIND_OF_PREFIX.items() for step in _STEPS},
    "Unsubscribed": ("email", "unsubscribed"),
    "Push Notification Received": ("push", "delivered"),
    "Push Notification Tapped": ("push", "clicked"),
    "Push Notification Bounced": ("push", "bounced"),
}
"""Every message event: the kind of message and the step it has reached; of bounces `message_step` knows more."""

_STEP_OF_BOUNCE: dict[BounceClass, Step | None] = {
    BounceClass.NO_BOUNCE: None,
    BounceClass.UNSUBSCRIBE: "unsubscribed",
    BounceClass.SPAM_REPORT: "complained",
}


def message_step(event: str, properties: Mapping[str, Any]) -> tuple[MessageKind, Step | None]:
    """Return what a message event means: `STEPS`, except where a bounce is none, or a failure is one.

    Args:
        event: A name of `STEPS`.
        properties: The properties of the event.

    Returns:
        The kind of message; the step it has reached, as `reached_step` has it.
    """
    kind, step = STEPS[event]
    return kind, reached_step(step, properties)


def reached_step(step: Step, properties: Mapping[str, Any]) -> Step | None:
    """Return the step that a report means.

    Args:
        step: What its name says.
        properties: The properties of the event.

    Returns:
        Of a bounce that is a complaint or an unsubscription, that, and of an automatic reply None. A failure is a
        bounce where it says that there is no such address; what may pass may be the sender's own failure. Any other
        step is itself.
    """
    if step == "bounced":
        return _STEP_OF_BOUNCE.get(bounce_class(properties), step)
    return "bounced" if step == "failed" and stated_class(properties) is BounceClass.PERMANENT else step


_SPELT_STEPS = tuple((f" {said.casefold()}", step) for said, step in _STEPS.items())


@lru_cache(maxsize=4096)  # a retailer's own events have few names
def named_step(event: str) -> tuple[str, Step] | None:
    """Return the channel and the step that the name of an event would mean if it were about a message.

    Args:
        event: A name that is not in `STEPS`.

    Returns:
        The name of the channel, which may be none of the deployment's (`Cheque Bounced`); None for any other name.
    """
    words = " ".join(event.split()).casefold()
    for said, step in _SPELT_STEPS:
        if words.endswith(said):
            return words.removesuffix(said).removesuffix(" message").replace(" ", "_"), step
    return None


class Message(Properties, total=False):
    """One message to one person.

    `message_id` ties its events together; `link_url` and `link_id` are of a click; `bounce_type` is `hard` or `soft`,
    or the provider's own word or code; `reason` is why it failed; `machine` is true where the provider says that a
    program has opened or clicked; `journey_id`, `variant_id` and `template_id` are where it came from.
    """

    message_id: Id
    campaign_id: Id
    campaign_name: Name
    journey_id: Id
    variant_id: Id
    template_id: Id
    email_id: Id
    email_subject: Name
    push_type: Name
    link_id: Id
    link_url: Text
    list_id: Id
    list_name: Name
    bounce_type: Name
    reason: Name
    product_id: Id


EVENTS: dict[type[Properties], tuple[str, ...]] = {Message: tuple(STEPS)}
"""The shape of each event's properties."""
