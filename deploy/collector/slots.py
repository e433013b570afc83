"""Answers `POST /v1/decide`: what a slot on the site, in the app or at the till shows one person.

It runs in the collector's process: a decision reads three keys and takes a few milliseconds, `CONCURRENT` at once,
and whoever finds no turn in time gets the fallback, so events are taken as before. Nothing here reads ClickHouse or
waits for Kafka: the ledger row goes to the outbox in Redis together with what caps count.

The fallback is the answer, with its reason, wherever nothing may be decided: nobody is known, Redis does not answer,
too many ask. Then nothing is counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from hashlib import blake2b
from time import monotonic
from typing import Any, NamedTuple, Protocol
from uuid import uuid4
from weakref import WeakValueDictionary

import orjson
from aiohttp import web
from redis.exceptions import RedisError

from deploy.collector.authentication import Authenticator
from deploy.collector.body import Reader, Request
from deploy.collector.profiles import HashIdentifier
from deploy.collector.refusal import RefusedError, json_answer
from deploy.collector.slot_rules import SlotRules
from deploy.collector.tally import Tally
from deploy.collector.visitor_tokens import VisitorTokens
from deploy.operations.person_lookup import identifier
from processors.decisions.ledger import language_of
from processors.decisions.slots import SlotDecision, SlotRequest
from processors.delivery.coupons import CouponPoolEmptyError, CouponPools, coupon_event, coupon_values, take_coupon
from processors.delivery.rendering import MessageRenderer, ProductRecommender
from processors.delivery.templates import TemplateError, nearest
from processors.profiles.cache import OpenProfile
from processors.profiles.fold import open_profile
from schemas.decisions.slots import Candidate, Slot
from schemas.events.limits import HALF_PAIR
from schemas.events.mending import whole_text
from schemas.metrics import NO_METER, SLOTS_DECIDED, Meter
from schemas.profiles.document import StoredProfile
from schemas.profiles.person import Person
from schemas.records import Outgoing
from schemas.spelling import nearest_names
from schemas.time import text_of_ms
from schemas.topics import DECISIONS
from sinks.redis.slots import SlotMemory, Stored

log = logging.getLogger(__name__)

ANSWER_WITHIN_S = 0.5
"""Longest time for a decision with the wait for its turn; then the fallback is the answer."""
CONCURRENT = 16
"""Decisions at the same time, so that the process goes on taking events."""
MAX_IDENTIFIERS, MAX_PROPERTIES, MAX_TEXT = 5, 20, 500
LOG_INTERVAL_S = 10.0
_WRITES = 3
SHOWN, CLICKED = "Promotion Viewed", "Promotion Clicked"
"""The events by which a page says that somebody saw, or followed, what was shown."""


class People(Protocol):
    """Finds people, and what slots have shown them."""

    async def find(self, identifier_hashes: list[bytes]) -> tuple[StoredProfile, SlotMemory] | None:
        """Return the profile of the first identifier that has one; None: nobody is known by them."""

    async def remember(
        self, profile_id: str, known: SlotMemory, request: str, answer: Mapping[str, Any],
        counted: tuple[str, list[Any]] | None, records: list[Outgoing], now_ms: int,
    ) -> Stored:  # fmt: skip
        """Store a decision with its records."""


class SlotContent(NamedTuple):
    """What makes the content of what is shown.

    Attributes:
        renderer: Renders texts.
        recommendations: Recommends products.
        coupons: Keeps pools of codes.
    """

    renderer: MessageRenderer
    recommendations: ProductRecommender
    coupons: CouponPools


class _Asked(NamedTuple):
    request: SlotRequest
    remembered_as: str
    hashes: list[bytes]
    trusted: bool


class SlotAnswers:
    """Answers requests of slots.

    Args:
        authenticator: Finds the source of a key.
        reader: Reads bodies.
        tokens: Reads visitor tokens.
        rules: Returns what decides; None: it is not read yet.
        people: Finds people.
        content: Makes what is shown.
        hash_identifier: Hashes identifiers.
        publish: Publishes an event with its id, now or later.
        tally: Counts.
        clock: The time, milliseconds since 1970.
        meter: Measures.
    """

    def __init__(
        self, authenticator: Authenticator, reader: Reader, tokens: VisitorTokens, *,
        rules: Callable[[], SlotRules | None], people: People, content: SlotContent, hash_identifier: HashIdentifier,
        publish: Callable[[Outgoing, str], Any], tally: Tally, clock: Callable[[], int], meter: Meter = NO_METER,
    ) -> None:  # fmt: skip
        self._authenticator, self._reader, self._tokens = authenticator, reader, tokens
        self._rules, self._people, self._content, self._hash = rules, people, content, hash_identifier
        self._publish, self._tally, self._clock, self._meter = publish, tally, clock, meter
        self._turns = asyncio.Semaphore(CONCURRENT)
        self._of_person: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()
        self._logged_at = float("-inf")
        self._publishing: set[asyncio.Task[Any]] = set()

    async def decide(self, http: web.Request) -> web.Response:
        """Answer what a slot shows.

        Raises:
            RefusedError: The request is malformed, there is no such slot, or the key may not ask for it.
        """
        async with self._reader.read(http, self._authenticator.head(http)) as request:
            name = request.name
            asked = self._asked(request)
        rules = self._rules()
        if rules is None:
            raise RefusedError(503, "starting", "The definitions are being read: try again.", 1)
        slot = rules.decider.slots.get(asked.request.slot)
        if slot is None:
            near = nearest_names(asked.request.slot, rules.decider.slots, 0.75)
            meant = f": did you mean {near[0]}?" if near else ""
            raise RefusedError(404, "slot", f"There is no slot {asked.request.slot[:64]!r}{meant}")
        found = await self._answer(rules, slot, asked)
        self._tally.add(name, "read")
        self._meter.add(SLOTS_DECIDED, 1, slot.channel, found["reason"] or "shown")
        if not asked.trusted:
            found = {key: value for key, value in found.items() if key != "explanation"}
        answer = json_answer(200, found)
        answer.headers["Cache-Control"] = "no-store"
        return answer

    def _asked(self, request: Request) -> _Asked:
        body = request.body
        slot, people = _text(body, "slot", required=True), _identifiers(body)
        trusted = request.source.kind == "server"
        source = request.name
        if not trusted:
            token = body.get("token")
            if not isinstance(token, str):
                raise RefusedError(403, "visitor_token", "A page's key needs the `token` of its visitor.")
            visitor = self._tokens.read(token, self._clock() / 1000)
            if slot not in visitor.slots:
                raise RefusedError(403, "visitor_token", f"The visitor token is not for the slot {slot[:64]!r}.")
            people, source = [visitor.person], visitor.source
        if not people:
            raise RefusedError(400, "person", "Say whom it is for: `person`, as user_id:42, or a list of those.")
        hashes = [one for kind, value in people for one in self._hash(kind, value, source)]
        if not hashes:
            raise RefusedError(400, "person", f"The value is none of the type {people[0][0][:50]}, or a placeholder.")
        request_id = _text(body, "request_id")
        asked = SlotRequest(slot, request_id or str(uuid4()), _properties(body), _text(body, "language"))
        # Without an id it is never repeated: it takes no place of the answers that are.
        digest = blake2b(f"{slot}\0{request_id}".encode(), digest_size=12).hexdigest() if request_id else ""
        return _Asked(asked, digest, hashes, trusted)

    async def _answer(self, rules: SlotRules, slot: Slot, asked: _Asked) -> dict[str, Any]:
        # A page asks for all its slots at once: one after the other, else each would overtake the writes of the others.
        turn = self._of_person.setdefault(asked.hashes[0], asyncio.Lock())
        try:
            async with asyncio.timeout(ANSWER_WITHIN_S), turn, self._turns:
                return await self._decided(rules, slot, asked)
        except (RedisError, OSError) as error:  # a timeout is an OSError
            if (now := monotonic()) - self._logged_at >= LOG_INTERVAL_S:
                self._logged_at = now
                log.warning("slots show their fallback: %s", type(error).__name__)
            return _fallback(slot, asked.request, "unreachable", "Profiles cannot be read now.")

    async def _decided(self, rules: SlotRules, slot: Slot, asked: _Asked) -> dict[str, Any]:
        for _ in range(_WRITES):
            found = await self._people.find(asked.hashes)
            if found is None:
                return _fallback(slot, asked.request, "unknown_person", "Nobody is known by this identifier.")
            stored, memory = found
            now_ms = self._clock()
            if (known := memory.answer(asked.remembered_as, now_ms)) is not None:
                return known
            person = open_profile(OpenProfile(stored), rules.engine)
            decision, answer, event = await self._shown(rules, slot, asked.request, person, memory, now_ms)
            counted = (decision.row["idempotency_key"], decision.counted) if decision.counted else None
            row = Outgoing(DECISIONS, person.profile_id.encode(), orjson.dumps(decision.row))
            done = await self._people.remember(
                person.profile_id, memory, asked.remembered_as, answer, counted, [row], now_ms
            )
            if done is Stored.DONE:
                if event is not None:
                    self._later(event)
                return answer
            if done is Stored.GONE:
                return _fallback(slot, asked.request, "unknown_person", "The person was erased or merged just now.")
            if done is Stored.FULL:
                return _fallback(slot, asked.request, "unreachable", "Too many ledger rows wait for Kafka.")
        return _fallback(slot, asked.request, "busy", "Too many requests for the person at once.")

    async def _shown(
        self, rules: SlotRules, slot: Slot, asked: SlotRequest, person: Person, memory: SlotMemory, now_ms: int
    ) -> tuple[SlotDecision, dict[str, Any], Outgoing | None]:
        """Decide, until a candidate has all that its content needs."""
        rules.decider.bring_up_to(person, now_ms)
        without: dict[str, str] = {}
        while True:
            decision = rules.decider.decide(
                person, asked, memory.seen, now_ms, controls=rules.controls, without=without
            )
            row = decision.row
            if decision.shown is None or decision.action is None:
                answer = _fallback(slot, asked, decision.reason, row["reason"], language_of(person.document))
                return decision, {**answer, "decision_id": row["decision_id"]}, None
            try:
                content, event = await self._made(rules, decision, person, now_ms)
            except (TemplateError, CouponPoolEmptyError, _NothingToShowError) as lacking:
                without[decision.shown.name] = str(lacking)[:200]
                continue
            answer = {
                "slot": slot.name,
                "candidate": decision.shown.name,
                "reason": "",
                "explanation": row["reason"],
                "decision_id": row["decision_id"],
                **content,
                "valid_until": None if decision.until_ms is None else text_of_ms(decision.until_ms),
                "track": _track(slot, decision),
            }
            return decision, answer, event

    async def _made(
        self, rules: SlotRules, decision: SlotDecision, person: Person, now_ms: int
    ) -> tuple[dict[str, Any], Outgoing | None]:
        """Return the content of what is shown, and the event about its coupon."""
        shown, action = decision.shown, decision.action
        if shown is None or action is None:
            raise _NothingToShowError("there is nothing to show")
        content: dict[str, Any] = {"content": {}, "data": dict(action["context"]["run"]["data"])}
        event, values = None, None
        if action.get("coupon"):
            of_coupon = {**action, "idempotency_key": decision.coupon_key}
            coupon = await take_coupon(self._content.coupons, of_coupon, now_ms)
            if coupon is not None:
                values = content["coupon"] = coupon_values(of_coupon, coupon)
                event = coupon_event(of_coupon, coupon)
        if action["template"]:
            rendered = await self._content.renderer.render(
                rules.definitions.templates, action, person.document, coupon=values,
                territory=rules.definitions.territory,
            )  # fmt: skip
            content["content"] = {name: part for name, part in rendered._asdict().items() if part}
        if shown.recommend:
            products = await self._content.recommendations.recommend(person.document, shown.recommend)
            if not products and not action["template"]:
                raise _NothingToShowError("there are no recommendations: `throughline recommendations refresh`")
            content["recommendations"] = products
        return content, event

    def _later(self, event: Outgoing) -> None:
        event_id = orjson.loads(event.value or b"{}")["event_id"]
        task = asyncio.ensure_future(self._publish(event, event_id))
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)


class _NothingToShowError(Exception):
    """A candidate has no content for the person."""


def _fallback(slot: Slot, asked: SlotRequest, reason: str, explanation: str, language: str = "") -> dict[str, Any]:
    content: dict[str, Any] = {}
    if slot.fallback:
        chosen = nearest(asked.language or language, slot.fallback, slot.default_language)
        content = {"language": chosen, **slot.fallback[chosen].parts()}
    return {
        "slot": slot.name,
        "candidate": None,
        "reason": reason,
        "explanation": explanation,
        "decision_id": None,
        "content": content,
        "valid_until": None,
        "track": None,
    }


def _track(slot: Slot, decision: SlotDecision) -> dict[str, Any]:
    """Return the two events as an SDK sends them, so that reports know which decision somebody saw and followed."""
    row = decision.row
    shown: Candidate | None = decision.shown
    properties = {
        "promotion_id": shown.name if shown else "",
        "name": slot.name,
        "creative": row["message"] or None,
        "position": slot.name,
        "decision_id": row["decision_id"],
        "message_id": row["idempotency_key"],
        "journey_id": slot.name,
        "variant_id": row["variant"] or None,
    }
    said = {key: value for key, value in properties.items() if value}
    campaign = {"source": "throughline", "medium": "onsite", **(decision.action or {}).get("campaign", {})}
    campaign.setdefault("name", slot.name)
    return {
        "shown": {"event": SHOWN, "properties": said},
        "clicked": {"event": CLICKED, "properties": said, "context": {"campaign": campaign}},
    }


def _text(body: Any, name: str, *, required: bool = False) -> str:
    if not isinstance(body, dict):
        raise RefusedError(400, "body", 'The request is a JSON object, such as {"slot": "site_banner", …}.')
    value = body.get(name) or ""
    if not isinstance(value, str) or len(value) > MAX_TEXT or (required and not value):
        raise RefusedError(400, name, f"`{name}` is a text of at most {MAX_TEXT} characters.")
    _check_whole(name, value)
    return value


def _check_whole(name: str, text: str) -> None:
    """Refuse a text that says who, what or which request, and that no store can hold."""
    if whole_text(text) != text:
        raise RefusedError(400, name, f"`{name}` has {HALF_PAIR}: send both halves, or the character in UTF-8.")


def _identifiers(body: dict[str, Any]) -> list[tuple[str, str]]:
    stated = body.get("person") or []
    texts = [stated] if isinstance(stated, str) else stated
    if not isinstance(texts, list) or len(texts) > MAX_IDENTIFIERS:
        raise RefusedError(400, "person", f"`person` is an identifier, as user_id:42, or a list of {MAX_IDENTIFIERS}.")
    found = [identifier(one) if isinstance(one, str) else None for one in texts]
    named = [one for one in found if one is not None]
    if len(named) < len(found):
        raise RefusedError(400, "person", "Write an identifier as type:value, such as user_id:42.")
    for _, value in named:
        _check_whole("person", value)
    return named


def _properties(body: dict[str, Any]) -> dict[str, Any]:
    stated = body.get("properties") or {}
    fits = isinstance(stated, dict) and len(stated) <= MAX_PROPERTIES
    if not fits or not all(isinstance(one, str | int | float | bool | None) for one in stated.values()):
        raise RefusedError(400, "properties", f"`properties` has at most {MAX_PROPERTIES} texts, numbers or booleans.")
    if any(len(str(one)) > MAX_TEXT for one in stated.values()):
        raise RefusedError(400, "properties", f"A text of `properties` has at most {MAX_TEXT} characters.")
    return {whole_text(name): whole_text(one) if isinstance(one, str) else one for name, one in stated.items()}
