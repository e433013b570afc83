"""The shape of `deploy/definitions/touches.yaml`: which events are touches, what they are credited to, what converts.

Two ordered tables, first match wins: `touches` says whether an event is a touch, `marketing_channels` names the channel
that attribution credits. All conditions of a rule must hold; a condition holds when any of its values does; a rule
without conditions always matches.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.channels import MessageKind
from schemas.events.messages import Step

TouchKind = Literal["rule", "campaign", "session", "referral", "return", "visit", ""]
"""The role of a stored event. `rule`: a touch by itself. The next are events of a visit: `campaign` is a touch where
its visit has not had this campaign or click id; `session` and `referral` (from a site of no known kind) are one where
they begin a visit; `return` (back from paying or signing in) goes on with the visit before; `visit` brings nothing.
Empty: neither a touch nor an event of a visit."""

ArrivedBy = Literal["campaign", "click_id", "referrer", "return", "nothing"]
"""The strongest sign of where a visitor came from; `return`: back from a host that visitors only pass through."""

SiteKind = Literal["search", "social", "video", "shopping", "mail", "assistant", "other"]
"""What a source is; `other` takes hosts out of a wider pattern, such as `maps.google.*` out of `google.*`."""

Label = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"\S")]
Labels = Annotated[tuple[Label, ...], Field(min_length=1)]


def _compilable(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


Pattern = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_compilable)]


def _site(name: str) -> str:
    host = name.partition("/")[0]
    if re.search(r"\s|:|[?#]", name) or "*" in host.removeprefix("*.").removesuffix(".*") or "*" in name[len(host) :]:
        raise ValueError(f"{name!r} is no site: a host such as t.co, *.bing.com or google.*, with or without a path")
    return name


Site = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_site)]
"""A host with or without a path, or a word of `utm_source`; patterns are those of `processors/recording/sites.py`."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Conditions(_Model):
    """When a rule applies.

    `source` and `medium` are compared without regard to case. In `source`, `google` also stands for `google.com` and
    every other host whose registered name is `google`, and `t.co` for every host below it. `$name` stands for a list.

    Attributes:
        events: The event's name.
        channels: Where it happened.
        message_kinds: It is a message event of this kind.
        message_steps: It is a message event of this step.
        arrived_by: What shows where the visitor came from.
        source: Campaign source, else the click id's, else the referring host.
        source_matches: Regular expression found in the source.
        source_kinds: What kind of site the source is, by `sites` and the list that ships.
        medium: Campaign medium, else the click id's, else `referral` for a referring host.
        medium_matches: Regular expression found in the medium.
        campaign_matches: Regular expression found in the campaign's name.
    """

    events: Labels | None = None
    channels: Labels | None = None
    message_kinds: tuple[MessageKind, ...] | None = None
    message_steps: tuple[Step, ...] | None = None
    arrived_by: tuple[ArrivedBy, ...] | None = None
    source: Labels | None = None
    source_matches: Pattern | None = None
    source_kinds: tuple[SiteKind, ...] | None = None
    medium: Labels | None = None
    medium_matches: Pattern | None = None
    campaign_matches: Pattern | None = None

    def lists(self) -> list[str]:
        """Names of the lists that the rule refers to."""
        return [value[1:] for value in (*(self.source or ()), *(self.medium or ())) if value.startswith("$")]


class TouchRule(Conditions):
    """Whether an event is a touch.

    Attributes:
        touch: `always`; `once_per_visit`: where the visit has not had the campaign or click id yet; `first_of_session`:
            as the first event of a visit; `never`.
    """

    touch: Literal["always", "once_per_visit", "first_of_session", "never"]


class ChannelRule(Conditions):
    """The marketing channel of a touch.

    Attributes:
        name: As it appears in reports and in the spend table; case matters.
    """

    name: Label


class Goal(_Model):
    """A conversion. Its id is the event's `order_id`, else `event_id`.

    Whoever counts `Order Completed` counts orders: `Order Updated` and `Receipt Issued` report them too.

    Attributes:
        name: The conversion type, as in reports.
        events: Events that reach it.
        channels: Only there; everywhere when left out.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,49}$")]
    events: Labels
    channels: Labels | None = None


class Origin(_Model):
    """Source and medium that a click id or an ad server stands for, where the campaign says nothing else."""

    source: Label
    medium: Label = ""


class ClickId(Origin):
    """An address parameter that an advertising system adds.

    Attributes:
        is_id: Whether its value names the click, as an upload of offline conversions wants it; `gad_source=1` does not.
        for_others: The system sends in the name of others, such as a mailing tool or an affiliate network. Its id
            agrees with every `utm_source` of no known kind or network.
    """

    is_id: bool = True
    for_others: bool = False


class TouchDefinitions(_Model):
    """The whole file.

    Attributes:
        direct_channels: Marketing channels that `last_non_direct` passes over.
        margin: Share of revenue that is margin, for ROMI.
        visit_channels: Where events make visits; messages are none, wherever they are seen.
        visit_pause_minutes: A pause of that long ends a visit, unless the producer's session id goes on.
        checkout_steps: Events after which a visitor may come back from the page of a bank, whatever its host.
        milestone: The goal that `w_shaped` gives a role of its own, such as a registration before the first order.
        lists: Named lists of sources or media, for `$name`.
        own_hosts: The retailer's hosts. Hosts of one registrable domain are one's own to each other without a list.
        sites: Hosts and words of `utm_source` by kind of site. They come before the list that ships.
        networks: Names of one advertising network: a click id speaks for its own network only. The first is its name.
        click_ids: Address parameters that advertising systems add.
        ad_servers: Referring hosts from which only paid clicks come.
        unpaid_media: Media that contradict a paid click id of the same network.
        ignored_referrers: Sites that visitors only pass through, such as payment pages: coming back is no touch.
        ignored_subdomains: Regular expression of such hosts, found in what is before their registrable domain.
        ignored_paths: Regular expression of such pages, found in the path of a referrer on whichever site.
        touches: Ordered rules; an event that none matches is no touch.
        marketing_channels: Ordered rules; the last has no conditions.
        goals: Conversions; the first is the one that reports are about unless another is asked for.
    """

    direct_channels: Labels = ("Direct",)
    margin: Annotated[float, Field(gt=0, le=1)] = 1.0
    visit_channels: Labels = ("web", "app")
    visit_pause_minutes: Annotated[int, Field(ge=1, le=1440)] = 30
    checkout_steps: Labels = (
        "Checkout Started", "Checkout Step Viewed", "Checkout Step Completed", "Payment Info Entered",
        "Order Completed",
    )  # fmt: skip
    milestone: str = "signup"
    lists: dict[str, Labels] = Field(default_factory=dict)
    own_hosts: tuple[Site, ...] = ()
    sites: dict[SiteKind, tuple[Site, ...]] = Field(default_factory=dict)
    networks: tuple[Labels, ...] = ()
    click_ids: dict[Annotated[str, StringConstraints(pattern=r"^\w+$")], ClickId] = Field(default_factory=dict)
    ad_servers: dict[Site, Origin] = Field(default_factory=dict)
    unpaid_media: tuple[Label, ...] = ()
    ignored_referrers: tuple[Site, ...] = ()
    ignored_subdomains: Pattern | None = None
    ignored_paths: Pattern | None = None
    touches: Annotated[tuple[TouchRule, ...], Field(min_length=1)]
    marketing_channels: Annotated[tuple[ChannelRule, ...], Field(min_length=1)]
    goals: Annotated[tuple[Goal, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _consistent(self) -> TouchDefinitions:
        for rule in (*self.touches, *self.marketing_channels):
            for name in rule.lists():
                if name not in self.lists:
                    raise ValueError(f"there is no list {name!r}; lists: {', '.join(self.lists)}")
        kinds: dict[str, SiteKind] = {}
        for kind, sites in self.sites.items():
            for site in sites:
                if kinds.setdefault(site.lower(), kind) != kind:
                    raise ValueError(f"{site} is of two kinds of sites, {kinds[site.lower()]} and {kind}")
        last = self.marketing_channels[-1]
        if last.model_dump(exclude_none=True) != {"name": last.name}:
            raise ValueError("the last of marketing_channels needs to match everything: give it no conditions")
        names = [goal.name for goal in self.goals]
        if len(set(names)) != len(names):
            raise ValueError("two goals have the same name")
        if "all" in names:
            raise ValueError("a goal cannot be called all: reports mean every goal by it")
        return self
