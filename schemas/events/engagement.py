"""Everything between shopping and messages: life cycle, pages and apps, ads, social, calls, chat, shops, loyalty."""

from typing import Any, Literal

from schemas.events.properties import Number, Position, Products, Properties, Seconds
from schemas.money import Money
from schemas.text import Id, Name, Text


class Account(Properties, total=False):
    """A person's account with the retailer, or a trial of something."""

    username: Name
    method: Name
    plan: Name
    referral_code: Name


class Identification(Properties, total=False):
    """`Identify` and `Consent Updated` say what they have to in `traits`, `identifiers` and `consent`."""


class View(Properties, total=False):
    """A page or a screen that was looked at."""

    name: Name
    category: Name
    title: Text
    url: Text
    path: Text
    referrer: Text
    search: Text
    duration_s: Seconds


class Application(Properties, total=False):
    """The life of an app on a device; Segment's names."""

    version: Name
    build: Name
    previous_version: Name
    previous_build: Name
    from_background: bool
    referring_application: Name
    provider: Name
    url: Text


class Experiment(Properties, total=False):
    """A variant of an experiment that was shown."""

    experiment_id: Id
    experiment_name: Name
    variation_id: Id
    variation_name: Name


class Advertisement(Properties, total=False):
    """An advertisement that was shown or clicked, on any network or on paper; `cost` is what that very contact cost."""

    ad_id: Id
    ad_name: Name
    ad_group_id: Id
    campaign_id: Id
    campaign_name: Name
    creative: Name
    network: Name
    placement: Name
    click_id: Name
    url: Text
    cost: Money
    product_id: Id


class SocialPost(Properties, total=False):
    """What somebody did with a post on a social network."""

    network: Name
    post_id: Id
    post_url: Text
    comment: Text
    product_id: Id


class Call(Properties, total=False):
    """A telephone call; `disposition` is how it ended."""

    call_id: Id
    direction: Literal["inbound", "outbound"]
    duration_s: Seconds
    disposition: Name
    reason: Name
    agent_id: Id
    agent_name: Name


class LiveChat(Properties, total=False):
    """A conversation with support, or one message of it; Segment's names, with `conversation_duration` in seconds."""

    conversation_id: Id
    conversation_duration: Seconds
    message_id: Id
    message_body: Text
    agent_id: Id
    agent_name: Name
    agent_username: Name
    products: Products


class StoreVisit(Properties, total=False):
    """Somebody came to a shop; `evidence` is how that is known (beacon, card, counter)."""

    store_id: Id
    store_name: Name
    evidence: Name
    duration_s: Seconds


class Loyalty(Properties, total=False):
    """Points of a loyalty programme, as a positive number whichever way they went; `balance` is what is left."""

    points: Number
    balance: Number
    tier: Name
    reason: Name
    order_id: Id
    reward_id: Id
    program_id: Id


class Survey(Properties, total=False):
    """Answers to a survey; `score` is one number, as of NPS."""

    survey_id: Id
    survey_name: Name
    score: Number
    question_count: Position
    answers: dict[str, Any] | list[Any]
    comment: Text


class Contest(Properties, total=False):
    """A contest or a prize draw."""

    contest_id: Id
    contest_name: Name
    prize: Name


class DirectMail(Properties, total=False):
    """A letter, brochure or catalogue."""

    campaign_id: Id
    campaign_name: Name
    creative: Name
    cost: Money


EVENTS: dict[type[Properties], tuple[str, ...]] = {
    Account: (
        "Signed Up",
        "Signed In",
        "Signed Out",
        "Account Created",
        "Account Deleted",
        "Trial Started",
        "Trial Ended",
    ),
    Identification: ("Identify", "Consent Updated"),
    View: ("Page Viewed", "Screen Viewed"),
    Application: (
        "Application Installed",
        "Application Opened",
        "Application Updated",
        "Application Backgrounded",
        "Application Foregrounded",
        "Application Crashed",
        "Application Uninstalled",
        "Install Attributed",
        "Deep Link Opened",
        "Deep Link Clicked",
    ),
    Experiment: ("Experiment Viewed",),
    Advertisement: ("Ad Impression", "Ad Clicked"),
    SocialPost: ("Social Post Liked", "Social Post Commented", "Social Post Shared"),
    Call: ("Call Started", "Call Ended", "Call Missed"),
    LiveChat: (
        "Live Chat Conversation Started",
        "Live Chat Conversation Ended",
        "Live Chat Message Sent",
        "Live Chat Message Received",
    ),
    StoreVisit: ("Store Visited",),
    Loyalty: ("Loyalty Points Earned", "Loyalty Points Redeemed"),
    Survey: ("Survey Submitted",),
    Contest: ("Contest Entered",),
    DirectMail: ("Direct Mail Sent",),
}
"""The shape of each event's properties."""
