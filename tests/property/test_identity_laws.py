"""The laws of identity, held by a plain model in memory, and by the real store step by step beside it.

Whatever happens, in whatever order: events, redeliveries, duplicates, unmerges, erasures, releases,
expiry; under any policy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from deploy.settings import Settings
from schemas.identity.policy import IdentifierRule, IdentityPolicy
from schemas.identity.resolution import ResolveRequest, uuid_text
from sinks.redis.identity import ImpossibleSplitError, RedisIdentityStore
from tests.oracles.identity_audit import Audit, answer_of
from tests.oracles.identity_model import RECEIVED_MS, Answer, IdentityModel, TypedAnchor, identifier_hash, request

KINDS = ("user_id", "card", "email", "tag", "device", "token", "browser")
named = st.tuples(st.sampled_from(KINDS), st.sampled_from("abc"))  # few, so that events meet
times = st.integers(0, 30).map(lambda step: RECEIVED_MS + step)
policies = st.builds(
    lambda device, token, browser, tag, card, email, sign_out, quarantine, cap: IdentityPolicy(
        types=(
            IdentifierRule(type="user_id", limit=1, known=True),
            IdentifierRule(type="card", limit=1, known=True, at_limit=card),
            IdentifierRule(type="email", limit=2, known=True, at_limit=email),
            IdentifierRule(type="*", limit=2, at_limit=tag),
            IdentifierRule(type="device", limit=3, transferable=True, shared_device=device),
            IdentifierRule(type="token", limit=2, transferable=True, shared_device=token),
            IdentifierRule(type="browser", limit=3, transferable=True, shared_device=browser),
        ),
        cap=cap,
        on_sign_out=sign_out,
        quarantine_after=quarantine,
    ),
    *[st.sampled_from(["first_owner", "last_login", "new_anonymous"])] * 3,
    *[st.sampled_from(["reject_new", "fifo"])] * 3,
    st.sampled_from(["keep", "new_anonymous"]),
    st.sampled_from([None, 2, 3]),
    st.sampled_from([None, 7]),
)


@dataclass(frozen=True)
class Visit:
    """An event that nobody has seen."""

    named: tuple[TypedAnchor, ...]
    occurred_ms: int
    received_ms: int
    signed_out: bool


@dataclass(frozen=True)
class Again:
    """An earlier event once more: the same record, or a producer's copy of it."""

    pick: int
    copied: bool


@dataclass(frozen=True)
class Unmerge:
    """Some identifiers of somebody's."""

    pick: int
    mask: int


@dataclass(frozen=True)
class Erase:
    """Whoever has this identifier."""

    named: TypedAnchor
    at_ms: int


@dataclass(frozen=True)
class Release:
    """Out of quarantine."""

    named: TypedAnchor


@dataclass(frozen=True)
class Expire:
    """A profile, of those that there are or were."""

    pick: int


visits = st.builds(
    Visit,
    st.lists(named, min_size=1, max_size=4, unique=True).map(tuple),
    times,
    times,
    st.sampled_from([False] * 9 + [True]),
)
others: list[st.SearchStrategy[Any]] = [
    st.builds(Again, st.integers(0, 99), st.booleans()),
    st.builds(Again, st.integers(0, 99), st.just(False)),
    st.builds(Unmerge, st.integers(0, 99), st.integers(1, 6)),
    st.builds(Erase, named, times),
    st.builds(Release, named),
    st.builds(Expire, st.integers(0, 99)),
    st.builds(Expire, st.integers(0, 99)),
]
steps = st.lists(
    st.integers(0, 24).flatmap(lambda choice: others[choice] if choice < len(others) else visits),
    min_size=15,
    max_size=40,
)
laws = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],  # shrinking forty steps takes minutes
)


def requests_of(plan: Sequence[Any], policy: IdentityPolicy) -> list[tuple[Any, ResolveRequest | None]]:
    """Give the events their requests; a repetition gets that of an earlier event."""
    made: list[ResolveRequest] = []
    steps: list[tuple[Any, ResolveRequest | None]] = []
    for number, step in enumerate(plan):
        asked = None
        if isinstance(step, Visit):
            asked = request(
                f"e{number}", *step.named, policy=policy, occurred_ms=step.occurred_ms, received_ms=step.received_ms,
                signed_out=step.signed_out,
            )  # fmt: skip
            made.append(asked)
        elif isinstance(step, Again) and made:
            asked = made[step.pick % len(made)]
            asked = asked._replace(origin=b"another.") if step.copied else asked
        steps.append((step, asked))
    return steps


def hashes_to_split(step: Unmerge, model: IdentityModel) -> list[bytes]:
    """Choose some members of some profile, sometimes all or none."""
    if not model.people:
        return [identifier_hash("user_id", "0")]
    name = sorted(model.people)[step.pick % len(model.people)]
    members = sorted(model.people[name].members)
    return [one for place, one in enumerate(members) if step.mask >> (place % 3) & 1] or members


def name_to_expire(step: Expire, model: IdentityModel) -> str:
    """Choose some profile."""
    names = sorted(model.people) or ["00000000-0000-0000-0000-000000000000"]
    return names[step.pick % len(names)]


def run(model: IdentityModel, number: int, step: Any, asked: ResolveRequest | None) -> Any:
    """Do one step to the model."""
    if asked is not None:
        return model.resolve(asked)
    if isinstance(step, Unmerge):
        return model.split(f"op{number}", hashes_to_split(step, model))
    if isinstance(step, Erase):
        return model.erase(identifier_hash(*step.named), step.at_ms)
    if isinstance(step, Expire):
        return model.expire(name_to_expire(step, model))
    return model.release(identifier_hash(*step.named)) if isinstance(step, Release) else None


def contents(model: IdentityModel) -> dict[str, set[bytes]]:
    """Who has which identifiers."""
    return {name: set(person.members) for name, person in model.people.items()}


@settings(laws, max_examples=300)
@given(steps, policies)
def test_whatever_happens_the_laws_hold(plan: list[Any], policy: IdentityPolicy) -> None:
    model = IdentityModel(policy)
    gone: set[str] = set()
    expired: set[str] = set()
    seen: list[ResolveRequest] = []

    for number, (step, asked) in enumerate(requests_of(plan, policy)):
        before = set(model.people)
        answer = run(model, number, step, asked)
        gone |= before - set(model.people)
        if isinstance(step, Expire):
            expired |= gone - model.alias.keys()  # with the profiles that had been merged into it
            gone -= expired

        owners = [one for person in model.people.values() for one in person.members]
        assert len(owners) == len(set(owners))
        assert not (gone | expired) & set(model.people)
        assert gone == set(model.alias)
        assert {model.follow(name) for name in gone} <= {None, *model.people}
        for person in model.people.values():
            assert person.members
            assert policy.cap is None or len(person.members) <= policy.cap
            for kind, count in Counter(kind for kind, _ in person.members.values()).items():
                assert count <= (policy.rule(kind).limit or count)
        if asked is not None and answer.profile:
            seen.append(asked)
            content = contents(model)
            again = model.resolve(asked)
            assert (answer.profile, ()) == (again.profile, again.merged)
            assert content == contents(model)
    if not any(
        isinstance(step, Erase | Release | Expire) for step in plan
    ):  # after those, an event may be somebody else's
        content = contents(model)
        for asked in seen:
            model.resolve(asked)
        assert content == contents(model)


@settings(laws, max_examples=200)
@given(steps, policies)
def test_what_was_taken_apart_never_meets_again(plan: list[Any], policy: IdentityPolicy) -> None:
    model = IdentityModel(policy)

    sides: dict[bytes, dict[int, int]] = {}
    former_owners: dict[bytes, int] = {}

    for number, (step, asked) in enumerate(requests_of(plan, policy)):
        before = {name: set(person.members) for name, person in model.people.items()}
        answer = run(model, number, step, asked)
        owners = model.owners()
        if isinstance(step, Unmerge) and answer:
            for one in next(members for members in before.values() if model.people[answer].members.keys() <= members):
                sides.setdefault(one, {})[number] = int(owners[one] == answer)
        for one in list(sides):  # what has left somebody on its own is free again
            if one not in owners or former_owners.get(one, 0) != len(model.former_owners.get(one, ())):
                del sides[one]
        former_owners = {one: len(before) for one, before in model.former_owners.items()}

        for person in model.people.values():
            kept = [(number, side) for one in person.members for number, side in sides.get(one, {}).items()]
            assert len(dict(kept)) == len(set(kept))


@settings(laws, max_examples=150)
@given(st.lists(visits, min_size=2, max_size=25), st.randoms(use_true_random=False))
def test_without_a_limit_the_order_can_not_be_seen(plan: list[Visit], chance: Any) -> None:
    free = IdentityPolicy.unlimited()
    events = [asked._replace(signed_out=False) for _, asked in requests_of(plan, free) if asked is not None]
    shuffled = [*chance.sample(events, len(events)), *chance.choices(events, k=3)]
    models = [IdentityModel(free), IdentityModel(free)]

    for model, order in zip(models, (events, shuffled), strict=True):
        for asked in order:
            model.resolve(asked)

    parts = [{frozenset(person.members) for person in model.people.values()} for model in models]
    assert parts[0] == parts[1]


@pytest.fixture
async def client(stack: Settings) -> AsyncIterator[Redis]:
    async with Redis.from_url(stack.redis_url) as client:
        yield client


async def run_on_store(
    store: RedisIdentityStore, model: IdentityModel, number: int, step: Any, asked: ResolveRequest | None
) -> Any:
    """Do one step to the real store; the model has not done it yet."""
    if asked is not None:
        (answer,) = await store.resolve([asked])
        return answer_of(answer)
    if isinstance(step, Unmerge):
        identifier_hashes = hashes_to_split(step, model)
        try:
            preview = await store.preview_split(identifier_hashes)
            split = await store.split(f"op{number}", identifier_hashes, occurred_ms=RECEIVED_MS)
        except ImpossibleSplitError:
            return None
        assert (preview.source, preview.moved, preview.stayed) == (split.source, split.moved, split.stayed)
        assert split == await store.split(f"op{number}", identifier_hashes, occurred_ms=RECEIVED_MS)
        return split.target
    if isinstance(step, Erase):
        erased = await store.erase(identifier_hash(*step.named), step.at_ms)
        assert erased == await store.erase(identifier_hash(*step.named), step.at_ms)
        return erased and erased.profile_id
    if isinstance(step, Expire):
        name = name_to_expire(step, model)
        await store._redis.delete(f"{store._prefix}absorb:{name}")  # the profile store has combined the documents
        (is_gone,) = await store.expire([name], RECEIVED_MS, 2**53)
        return is_gone
    return await store.release(identifier_hash(*step.named)) if isinstance(step, Release) else None


@pytest.mark.integration
@settings(laws, max_examples=60)
@given(steps, policies)
async def test_the_store_does_what_the_model_does_and_keeps_its_invariants(
    client: Redis, stack: Settings, plan: list[Any], policy: IdentityPolicy
) -> None:
    model, audit = IdentityModel(policy), Audit(client, stack.redis_namespace, policy)
    store = RedisIdentityStore(client, stack.redis_namespace, policy)
    versions: list[int] = []
    try:
        await client.set(f"{{{stack.redis_namespace}}}:people", 1)
        for number, (step, asked) in enumerate(requests_of(plan, policy)):
            answer = await run_on_store(store, model, number, step, asked)
            expected = run(model, number, step, asked)

            if not isinstance(step, Erase) or expected is not None:  # an erasure once more answers the first time's
                assert expected == answer
            if isinstance(answer, Answer) and answer.profile and asked:
                again = (await store.resolve([asked]))[0]
                assert (answer.profile, ()) == (again.profile_id, again.merged)
                versions.append(again.version)
        assert model.owners() == await audit.check()
        assert versions == sorted(versions)
        assert set(versions) <= {change.version for change in await audit.log()}
        assert model.quarantined == await audit.quarantined()
        ranked = await store.most_refused(100)
        assert {uuid_text(one): times for one, times in model.refusals.items()} == {
            anchor: times for anchor, _, times, _ in ranked
        }
    finally:
        await audit.wipe()
