"""Messages that a retailer sends, and what becomes of them.

An event's name is a kind of message and a step: `Email Sent`, `Email Link Clicked`, `SMS Delivered`, `Push Opened`,
`WhatsApp Sent`, `Messenger Message Sent`. `Email Delivered`, `Email Opened`, `Email Link Clicked`, `Email Bounced` and
`Email Marked as Spam` are Segment's own spelling and the others follow it. The longer `WhatsApp Message Sent` is known
too, and so are Segment's `Unsubscribed` (from e-mail) and `Push Notification Received`, `… Tapped`, `… Bounced`. No
name is rewritten: `STEPS` tells what each of them means.
"""

from collections.abc import Mapping
from typing import Any, Literal

from schemas.channels import KIND_OF_PREFIX, MessageKind
from schemas.events.bounces import BounceClass, bounce_class
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
    """Return what a message event means: `STEPS`, except where a bounce is none.

    Args:
        event: A name of `STEPS`.
        properties: The properties of the event.

    Returns:
        The kind of message; the step it has reached: of a bounce that is a complaint or an unsubscription, that; of an
        automatic reply None.
    """
    kind, step = STEPS[event]
    return kind, _STEP_OF_BOUNCE.get(bounce_class(properties), step) if step == "bounced" else step


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
