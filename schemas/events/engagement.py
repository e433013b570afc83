"""Everything between shopping and messages: life cycle, pages and apps, ads, social, calls, chat, shops, loyalty."""

from __future__ import annotations

from typing import Any, Literal

from schemas.events.properties import Number, Position, Products, Properties, Seconds
from schemas.money import Money
from schemas.text import Id, Name, Text


class Account(Properties):
    """A person's account with the retailer, or a trial of something."""

    username: Name | None = None
    method: Name | None = None
    plan: Name | None = None
    referral_code: Name | None = None


class Identification(Properties):
    """`Identify` and `Consent Updated` say what they have to in `traits`, `identifiers` and `consent`."""


class View(Properties):
    """A page or a screen that was looked at."""

    name: Name | None = None
    category: Name | None = None
    title: Text | None = None
    url: Text | None = None
    path: Text | None = None
    referrer: Text | None = None
    search: Text | None = None
    duration_s: Seconds | None = None


class Application(Properties):
    """The life of an app on a device; Segment's names."""

    version: Name | None = None
    build: Name | None = None
    previous_version: Name | None = None
    previous_build: Name | None = None
    from_background: bool | None = None
    referring_application: Name | None = None
    provider: Name | None = None
    url: Text | None = None


class Experiment(Properties):
    """A variant of an experiment that was shown."""

    experiment_id: Id | None = None
    experiment_name: Name | None = None
    variation_id: Id | None = None
    variation_name: Name | None = None


class Advertisement(Properties):
    """An advertisement that was shown or clicked, on any network or on paper; `cost` is what that very contact cost."""

    ad_id: Id | None = None
    ad_name: Name | None = None
    ad_group_id: Id | None = None
    campaign_id: Id | None = None
    campaign_name: Name | None = None
    creative: Name | None = None
    network: Name | None = None
    placement: Name | None = None
    click_id: Name | None = None
    url: Text | None = None
    cost: Money | None = None
    product_id: Id | None = None


class SocialPost(Properties):
    """What somebody did with a post on a social network."""

    network: Name | None = None
    post_id: Id | None = None
    post_url: Text | None = None
    comment: Text | None = None
    product_id: Id | None = None


class Call(Properties):
    """A telephone call; `disposition` is how it ended."""

    call_id: Id | None = None
    direction: Literal["inbound", "outbound"] | None = None
    duration_s: Seconds | None = None
    disposition: Name | None = None
    reason: Name | None = None
    agent_id: Id | None = None
    agent_name: Name | None = None


class LiveChat(Properties):
    """A conversation with support, or one message of it; Segment's names, with `conversation_duration` in seconds."""

    conversation_id: Id | None = None
    conversation_duration: Seconds | None = None
    message_id: Id | None = None
    message_body: Text | None = None
    agent_id: Id | None = None
    agent_name: Name | None = None
    agent_username: Name | None = None
    products: Products | None = None


class StoreVisit(Properties):
    """Somebody came to a shop; `evidence` is how that is known (beacon, card, counter)."""

    store_id: Id | None = None
    store_name: Name | None = None
    evidence: Name | None = None
    duration_s: Seconds | None = None


class Loyalty(Properties):
    """Points of a loyalty programme, as a positive number whichever way they went; `balance` is what is left."""

    points: Number | None = None
    balance: Number | None = None
    tier: Name | None = None
    reason: Name | None = None
    order_id: Id | None = None
    reward_id: Id | None = None
    program_id: Id | None = None


class Survey(Properties):
    """Answers to a survey; `score` is one number, as of NPS."""

    survey_id: Id | None = None
    survey_name: Name | None = None
    score: Number | None = None
    question_count: Position | None = None
    answers: dict[str, Any] | list[Any] | None = None
    comment: Text | None = None


class Contest(Properties):
    """A contest or a prize draw."""

    contest_id: Id | None = None
    contest_name: Name | None = None
    prize: Name | None = None


class DirectMail(Properties):
    """A letter, brochure or catalogue."""

    campaign_id: Id | None = None
    campaign_name: Name | None = None
    creative: Name | None = None
    cost: Money | None = None


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
