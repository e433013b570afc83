"""The identity policy: the identifier types that join profiles, their order of strength, and their limits.

Invariant: `IdentityPolicy()` equals the shipped `deploy/definitions/identity.yaml`, so a partial policy overrides
what it names and nothing else.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, Literal, Self

from phonenumbers import SUPPORTED_REGIONS
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

OTHER_TYPES = "*"
"""The entry for every identifier type that has none of its own."""

Normaliser = Literal["opaque", "email_if_address", "email", "phone", "whatsapp"]
AtLimit = Literal["reject_new", "fifo"]
SharedDevice = Literal["first_owner", "last_login", "new_anonymous"]
OnSignOut = Literal["keep", "new_anonymous"]


def _checked(patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}") from None
    return patterns


class IdentifierRule(BaseModel):
    """The rules for one identifier type.

    Attributes:
        type: The identifier type; `*` stands for every type that has no entry of its own.
        limit: The most identifiers of this type in one profile; None is no limit. With 1, as for logins, two values are
            never in one profile.
        known: A profile with an identifier of this type is a known person, and keeps its id when an anonymous profile
            is merged into it.
        transferable: The identifier may pass from one person to another, as that of a phone or a tablet does, if
            `shared_device` allows it.
        shared_device: The person who keeps it when a second person logs in with it; None is the rule of the policy.
        at_limit: The treatment of an identifier of this type that would exceed the limit; None is the rule of the
            policy.
        most_installs: An identifier of this type that joins this many further `anonymous_id` within 30 days, in events
            without a known identifier, is no device: all of one model may state it. It is quarantined, and what it
            had joined leaves again; recorded events stay. None: any number may come with it.
        verified_only: Use the identifier only where the source says that it is verified.
        normalise: How spellings of one value are made equal: `email`, `phone` (E.164), `whatsapp` (a phone number
            that comes with its country code but without `+`), `opaque` (outer white space is cut, nothing else), or
            `email_if_address` (opaque, but a value that is an e-mail address compares as one; it is kept as it came).
        same_as: Another type; the identifier counts as one of that type, so that equal values are the same identifier.
        blocked_values: Further placeholders, which identify no person, compared without regard to case.
        blocked_patterns: Further regular expressions for such values, matched against the value in lower case.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str = Field(min_length=1, max_length=64)
    limit: int | None = Field(5, ge=1)
    known: bool = False
    transferable: bool = False
    shared_device: SharedDevice | None = None
    at_limit: AtLimit | None = None
    most_installs: int | None = Field(None, ge=2)
    verified_only: bool = False
    normalise: Normaliser = "opaque"
    same_as: str | None = None
    blocked_values: frozenset[str] = frozenset()
    blocked_patterns: tuple[str, ...] = ()

    @field_validator("blocked_values")
    @classmethod
    def _comparable(cls, values: frozenset[str]) -> frozenset[str]:
        return frozenset(map(_bare, values))

    @field_validator("blocked_patterns")
    @classmethod
    def _compilable(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        return _checked(patterns)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.shared_device and not self.transferable:
            raise ValueError(f"{self.type} has shared_device but is not transferable: add `transferable: true`")
        if self.transferable and self.known:
            raise ValueError(
                f"{self.type} is known and transferable: an identifier of a known person stays with that person"
            )
        if self.at_limit == "fifo" and self.limit is None:
            raise ValueError(f"{self.type} has at_limit but no limit")
        return self


# A placeholder sent as an identifier must not merge everybody who sent it into one profile.
_BLOCKED_VALUES = frozenset((
    "", "null", "none", "nil", "nan", "undefined", "unknown", "unset", "empty", "invalid", "n/a", "na", "true", "false",
    "anonymous", "anon", "guest", "test", "tester", "dummy", "example", "default", "deleted", "redacted",
    "not_authenticated", "unauthenticated", "not set", "(not set)", "(none)", "(null)", "<null>", "-1",
    "[object object]", "{}", "[]", "id", "user_id", "userid", "anonymous_id", "distinct_id", "distinctid", "email",
    "phone",
))  # fmt: skip
_BLOCKED_PATTERNS = (
    r"^[0\s!-/:-@\[-`{-~]*$",  # zeros and punctuation alone
    r"^f{8}(?:-f{4}){3}-f{12}$",
    r"^(?:\{\{.*\}\}|\$\{.*\}|\{%.*%\}|<.*>|%.*%|\*\|.*\|\*)$",  # a template's field that was not filled in
)
_ONE_DIGIT = r"^\D*(\d)(\D*\1)+\D*$"  # typed where a form requires a number
_ONE_HEX_DIGIT = r"^([0-9a-f])(?:[-:]?\1){7,}$"  # of a firmware that has no id
_INVISIBLE = "".join(map(chr, (0xAD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF)))
_QUOTES = "\"'`´‘’“”«»"
_PLAIN_BLANK_OR_QUOTE = " \t\r\n\v\f\"'`"
_BLANK_OR_QUOTE = "".join(filter(str.isspace, map(chr, range(0x3001)))) + _INVISIBLE + _QUOTES


def _bare(value: str) -> str:
    """Return a value in the form of blocked values: lower case, no outer white space or quotes, NFC."""
    if value.isascii():  # the usual case, and several times as fast
        return value.strip(_PLAIN_BLANK_OR_QUOTE).lower()
    return unicodedata.normalize("NFC", value.strip(_BLANK_OR_QUOTE).lower())


# The Android emulator's and a faulty firmware's id; the address that iOS and Android show instead of the real one; the
# serial numbers of emulators and of boards without one.
_DEVICE_CONSTANTS = frozenset((
    "9774d56d682e549c", "02:00:00:00:00:00", "020000000000", "004999010640000", "012345678912345", "123456789012345",
    "0123456789abcdef", "android_id", "dead00beef", "emulator", "simulator",
))  # fmt: skip

_DEFAULT_RULES = (
    IdentifierRule(type="user_id", limit=1, known=True, normalise="email_if_address"),
    IdentifierRule(type="crm_id", limit=1, known=True),
    IdentifierRule(type="loyalty_id", limit=1, known=True),
    IdentifierRule(type="email", limit=5, known=True, normalise="email"),
    IdentifierRule(type="phone", limit=5, known=True, normalise="phone", blocked_patterns=(_ONE_DIGIT,)),
    IdentifierRule(
        type="whatsapp_id",
        limit=5,
        known=True,
        normalise="whatsapp",
        same_as="phone",
        blocked_patterns=(_ONE_DIGIT,),
    ),
    # A person who hides the number on WhatsApp has only this, scoped to a business; `DE.` and digits.
    IdentifierRule(type="whatsapp_user_id", limit=5, known=True),
    IdentifierRule(type="messenger_id", limit=5),
    IdentifierRule(type="telegram_id", limit=5),
    IdentifierRule(type=OTHER_TYPES, limit=5),
    IdentifierRule(
        type="device_id",
        limit=20,
        transferable=True,
        most_installs=10,
        blocked_values=_DEVICE_CONSTANTS,
        blocked_patterns=(_ONE_HEX_DIGIT,),
    ),
    # After another person's login, messages for the former owner must not go to it.
    IdentifierRule(type="push_token", limit=20, transferable=True, shared_device="last_login"),
    IdentifierRule(type="anonymous_id", limit=200),
)

_SHIPPED = {rule.type: rule.model_dump(exclude_unset=True) for rule in _DEFAULT_RULES}


def known_region(region: str) -> str:
    """Return the region, if telephone numbers can be read with it.

    Raises:
        ValueError: It is no region, such as `UK`: every number without a country code would be lost.
    """
    if region not in SUPPORTED_REGIONS:
        raise ValueError(f"{region!r} is no region of ISO 3166 with telephone numbers, such as GB or DE")
    return region


class IdentityPolicy(BaseModel):
    """The identifier types that join profiles, and how many identifiers a profile may have.

    The traits of an event may hold an e-mail or a phone number too: those describe a person and never join people.
    Only what a source puts into `identifiers` does.

    Attributes:
        types: The identifier types, strongest first. An event's identifiers are walked in this order, and a link that
            breaks a limit is refused alone: what stands before it is kept, and what comes after it is still tried.
            A list is the whole order. A mapping of type → fields changes those types alone; a type that is not shipped
            comes right before `*`. Either way, what an entry leaves out is as shipped for its type.
        cap: Most identifiers in one profile; None is no cap. Events of a full profile still resolve.
        at_limit: What happens to an identifier that would exceed a limit: `reject_new` leaves it out; `fifo` lets the
            oldest of its type that is not the event's own leave the profile. What is recorded of the one that leaves
            stays with the profile. A known identifier makes room for another only where the event names both sides by
            known identifiers, so that two people never merge through a cookie or a device.
        shared_device: Who keeps a transferable identifier when a second person logs in with it: `first_owner`;
            `last_login` gives it to whoever logged in last, by the time of the events; `new_anonymous` gives it to
            neither, and events with no other identifier then belong to a shared profile. What was recorded of it
            before stays with the person it was recorded for.
        on_sign_out: Which profile has the devices and browsers of a `Signed Out` event afterwards: with `keep` the
            person's; with `new_anonymous` a new one, which the next login joins.
        quarantine_after: An identifier that was refused that many times, each time to another person, is left out
            of resolution until an operator releases it; None never does so. For anonymous visitors see
            `IdentifierRule.most_installs`.
        regions: Source → region (ISO 3166) of its phone numbers without a country code. A number of possible length
            counts, and no other region is tried.
        default_region: Region of phone numbers without a country code where neither `regions` nor the event itself
            names one, ISO 3166. A number that is not valid there joins nobody.
        market_regions: Country that an event names → region of its phone numbers without a country code that are not
            valid in the country: `default_region` of its market. The table of markets fills it in.
        store_countries: Store → country of the events that name it and no country. The table of markets fills it in.
        blocked_values: Placeholders of every type: they identify no person. Compared without regard to case, outer
            white space and quotes.
        blocked_patterns: Regular expressions for such values, matched against the value in lower case.
        also_blocked_values: The operator's own, beside those.
        also_blocked_patterns: The operator's own, beside those.
        namespaces: Source → type → prefix that is put before its values: for sources that number their users
            independently of each other. A prefixed value is looked up with its prefix.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    types: tuple[IdentifierRule, ...] = _DEFAULT_RULES
    cap: int | None = Field(500, ge=1)
    at_limit: AtLimit = "reject_new"
    shared_device: SharedDevice = "first_owner"
    on_sign_out: OnSignOut = "keep"
    quarantine_after: int | None = Field(50, ge=2)
    regions: dict[str, str] = Field(default_factory=dict)
    default_region: str = "US"
    market_regions: dict[str, str] = Field(default_factory=dict)
    store_countries: dict[str, str] = Field(default_factory=dict)
    blocked_values: frozenset[str] = _BLOCKED_VALUES
    blocked_patterns: tuple[str, ...] = _BLOCKED_PATTERNS
    also_blocked_values: frozenset[str] = frozenset()
    also_blocked_patterns: tuple[str, ...] = ()
    namespaces: dict[str, dict[str, str]] = Field(default_factory=dict)

    @field_validator("blocked_values", "also_blocked_values")
    @classmethod
    def _comparable(cls, values: frozenset[str]) -> frozenset[str]:
        return frozenset(map(_bare, values))

    @field_validator("blocked_patterns", "also_blocked_patterns")
    @classmethod
    def _compilable(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        return _checked(patterns)

    @field_validator("types", mode="before")
    @classmethod
    def _completed(cls, given: object) -> object:
        return _entries(given)

    @field_validator("regions", "market_regions", "store_countries")
    @classmethod
    def _known_regions(cls, regions: dict[str, str]) -> dict[str, str]:
        return {name: known_region(region) for name, region in regions.items()}

    @field_validator("default_region")
    @classmethod
    def _known(cls, region: str) -> str:
        return known_region(region)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [rule.type for rule in self.types]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"these types have more than one entry: {', '.join(repeated)}")
        if OTHER_TYPES not in names:
            raise ValueError(
                f'one entry must be for every other type: {{type: "{OTHER_TYPES}", limit: 5}}; a list is the whole '
                "order, to change some types alone write `{email: {limit: 1}}`"
            )
        for rule in self.types:
            if rule.same_as is not None and (rule.same_as not in names or self.rule(rule.same_as).same_as):
                raise ValueError(f"{rule.type} is the same as {rule.same_as}, which has no entry of its own")
        return self

    @classmethod
    def unlimited(cls) -> IdentityPolicy:
        """Return the policy without limits: profiles are the connected components of identifiers."""
        return cls(
            types=tuple(rule.model_copy(update={"limit": None, "most_installs": None}) for rule in _DEFAULT_RULES),
            cap=None,
        )

    @cached_property
    def _patterns(self) -> tuple[re.Pattern[str], ...]:
        return _compiled(self.blocked_patterns + self.also_blocked_patterns)

    @cached_property
    def sources(self) -> frozenset[str]:
        """The sources of which something is said in particular."""
        return frozenset(self.namespaces.keys() | self.regions.keys())

    @cached_property
    def _by_type(self) -> dict[str, tuple[int, IdentifierRule]]:
        return {rule.type: (priority, rule) for priority, rule in enumerate(self.types)}

    def rule(self, identifier_type: str) -> IdentifierRule:
        """Return the entry for a type, or the one for all other types."""
        return (self._by_type.get(identifier_type) or self._by_type[OTHER_TYPES])[1]

    def priority(self, identifier_type: str) -> int:
        """Return the type's place in the order, 0 the strongest."""
        return (self._by_type.get(identifier_type) or self._by_type[OTHER_TYPES])[0]

    def makes_room(self, rule: IdentifierRule) -> bool:
        """Return whether the oldest identifier of a type leaves when a new one would exceed the limit."""
        return rule.limit is not None and (rule.at_limit or self.at_limit) == "fifo"

    def sharing(self, rule: IdentifierRule) -> SharedDevice:
        """Return who keeps an identifier of a type when a second person logs in with it."""
        return (rule.shared_device or self.shared_device) if rule.transferable else "first_owner"

    def blocks(self, rule: IdentifierRule, value: str) -> bool:
        """Return whether a value is a placeholder."""
        bare = _bare(value)
        return (
            bare in self.blocked_values
            or bare in self.also_blocked_values
            or bare in rule.blocked_values
            or _matches(self._patterns, bare)
            or (bool(rule.blocked_patterns) and _matches(_compiled(rule.blocked_patterns), bare))
        )


def _matches(patterns: tuple[re.Pattern[str], ...], bare: str) -> bool:
    return any(pattern.search(bare) for pattern in patterns)


@lru_cache(maxsize=256)
def _compiled(patterns: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    """Compile patterns, joined where possible. One with groups or flags stays separate: joining renumbers groups."""
    compiled = [re.compile(pattern) for pattern in patterns]
    separate = [pattern for pattern in compiled if pattern.groups or pattern.flags != re.UNICODE]
    joinable = [f"(?:{pattern.pattern})" for pattern in compiled if pattern not in separate]
    return (*([re.compile("|".join(joinable))] if joinable else ()), *separate)


def _entries(given: object) -> object:
    """Complete the entries of `types` by the shipped ones; see `IdentityPolicy.types`."""
    if isinstance(given, Mapping):
        names = list(_SHIPPED)
        place = names.index(OTHER_TYPES)
        names[place:place] = [name for name in given if name not in _SHIPPED]
        return [_changed(name, given.get(name)) for name in names]
    if isinstance(given, list | tuple):
        return [_completed(one["type"], one) if isinstance(one, Mapping) and "type" in one else one for one in given]
    return given


def _changed(name: Any, fields: object) -> IdentifierRule:
    try:
        return IdentifierRule.model_validate(_completed(name, fields))
    except ValidationError as invalid:
        first = invalid.errors()[0]
        where = ".".join(map(str, (name, *first["loc"])))
        raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


def _completed(name: Any, fields: object) -> dict[str, Any]:
    fields = {} if fields is None else fields
    if not isinstance(fields, Mapping):
        raise ValueError(f"{name} is {fields!r}: write the fields that differ, such as {{limit: 1}}")
    shipped = dict(_SHIPPED.get(name, {})) if isinstance(name, str) else {}
    if not fields.get("transferable", True):
        shipped.pop("shared_device", None)
    return {"type": name, **shipped, **fields}
