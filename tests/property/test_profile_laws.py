"""The laws of profiles: order cannot be seen, and a merge looks as if it had always been one person."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processors.profiles import cart as profile_cart
from processors.profiles import contact as profile_contact
from processors.profiles import document as profiles
from processors.profiles import orders as profile_orders
from processors.profiles.document import apply, combine, encode, new_profile
from schemas.profiles.document import Profile
from tests.support.profiles import resolved

laws = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

# Few values and few times, so that events meet: same product, same order, same millisecond.
times = st.integers(0, 12).map(lambda second: f"2026-11-01T12:00:{second:02d}.000Z")
product_ids = st.sampled_from(["lamp", "chair", "table"])
cart_ids = st.sampled_from([None, "c1", "c2"])
order_ids = st.sampled_from(["o1", "o2"])
amounts = st.sampled_from(["10.00", "49.90", "0.125", None])
currencies = st.sampled_from(["EUR", "USD"])
channels = st.sampled_from(["web", "app", "store", "email"])
products = st.lists(
    st.fixed_dictionaries({"product_id": product_ids, "quantity": st.integers(-1, 3)}, optional={"price": amounts}),
    max_size=3,
)
answers = st.booleans()


def _properties(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(fields)


_SHAPES: dict[tuple[str, ...], st.SearchStrategy[dict[str, Any]]] = {
    ("Page Viewed", "Store Visited", "Our Own Event"): _properties(store_id=st.sampled_from(["s1", "s2", None])),
    ("Product Viewed", "Product Added", "Product Removed", "Product Added to Wishlist"): _properties(
        product_id=product_ids,
        cart_id=cart_ids,
        quantity=st.integers(1, 3),
        price=amounts,
        currency=st.sampled_from([None, "EUR", "USD"]),
    ),
    ("Cart Viewed", "Checkout Started"): _properties(cart_id=cart_ids, products=products),
    ("Order Completed", "Order Updated", "Order Refunded", "Order Cancelled", "Receipt Issued"): _properties(
        order_id=order_ids,
        receipt_id=st.sampled_from([None, "r1", "o2"]),
        cart_id=cart_ids,
        revenue=st.one_of(amounts, st.sampled_from(["-5.00", "0.00"])),
        refunded_total=st.sampled_from([None, "3.00", "7.00"]),
        currency=currencies,
        products=products,
    ),
    (
        "Email Delivered",
        "Email Opened",
        "Email Bounced",
        "SMS Link Clicked",
        "Push Opened",
        "Unsubscribed",
    ): _properties(
        bounce_type=st.sampled_from(["hard", "soft", "AutoResponder", "SpamComplaint", "Undetermined", None])
    ),
    ("Loyalty Points Earned", "Loyalty Points Redeemed"): _properties(
        points=st.integers(0, 9), balance=st.sampled_from([None, 5, 7.5])
    ),
    ("Identify", "Consent Updated", "Signed Up"): _properties(),
}
kinds = st.sampled_from([(name, shape) for names, shape in _SHAPES.items() for name in names])


@st.composite
def touchpoints(draw: st.DrawFn) -> dict[str, Any]:
    """Any event, with any of what every event may carry."""
    name, shape = draw(kinds)
    fields: dict[str, Any] = {
        "occurred_at": draw(times),
        "properties": draw(shape),
        "identifiers": [
            {"type": kind, "value": f"{kind}-{draw(st.integers(1, 2))}", "verified": draw(answers)}
            for kind in draw(st.sets(st.sampled_from(["email", "phone", "push_token", "user_id"])))
        ],
    }
    if draw(answers):
        fields["campaign"] = {"name": draw(st.sampled_from(["autumn", "winter"])), "channel": draw(channels)}
        fields["context"] = {
            "locale": draw(st.sampled_from(["fr", "de"])),
            "store_id": draw(st.sampled_from(["s1", "s2"])),
        }
    if draw(answers):
        fields["traits"] = {draw(st.sampled_from("abc")): draw(st.sampled_from([1, True, "x", None, [1], {"y": 1}]))}
        fields["consent"] = {"marketing": draw(answers), "channels": {draw(channels): draw(answers)}}
    return resolved(name, draw(channels), **fields)


histories = st.lists(touchpoints(), max_size=12)


def fold(events: list[dict[str, Any]], person: str = "p1") -> dict[str, Any]:
    """The profile of a person with these events."""
    profile = new_profile(person)
    for event in events:
        apply(profile, event)
    return profile


@pytest.fixture(params=["room for all", "full"])
def bounds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every law holds for the bounded parts too, when they overflow."""
    if request.param == "full":
        for module, name in ((profiles, "ITEMS_KEPT"), (profile_cart, "ITEMS_KEPT"), (profiles, "TRAITS_KEPT")):
            monkeypatch.setattr(module, name, 2)
        monkeypatch.setattr(profiles, "EVENT_NAMES_KEPT", 3)
        monkeypatch.setattr(profile_contact, "PURPOSES_KEPT", 2)


bounded = pytest.mark.usefixtures("bounds")
with_fixture = settings(laws, suppress_health_check=[*laws.suppress_health_check, HealthCheck.function_scoped_fixture])


@bounded
@with_fixture
@given(st.data(), histories)
def test_any_order_of_the_same_events_gives_the_same_profile(data: st.DataObject, events: list[dict[str, Any]]) -> None:
    shuffled = data.draw(st.permutations(events))

    assert encode(fold(events)) == encode(fold(shuffled))


@bounded
@with_fixture
@given(histories, histories)
def test_a_merge_of_two_people_is_the_profile_of_one_who_did_it_all(
    ours: list[dict[str, Any]], theirs: list[dict[str, Any]]
) -> None:
    assert fold(ours + theirs) == combine(fold(ours), fold(theirs, "p2"))


@bounded
@with_fixture
@given(histories, histories)
def test_it_does_not_matter_which_of_two_people_wins(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    one, other = fold(ours), fold(theirs, "p2")

    assert combine(one, other) == {**combine(other, one), "profile_id": "p1"}


@bounded
@with_fixture
@given(histories, histories, histories)
def test_it_does_not_matter_which_of_three_people_meet_first(
    first: list[dict[str, Any]], second: list[dict[str, Any]], third: list[dict[str, Any]]
) -> None:
    one, two, three = fold(first), fold(second, "p2"), fold(third, "p3")

    assert combine(combine(one, two), three) == combine(one, combine(two, three))


@laws
@given(histories, histories)
def test_combining_changes_neither_of_the_two(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    one, other = fold(ours), fold(theirs, "p2")
    before = encode(one), encode(other)
    apply(combine(one, other), resolved("Order Completed", properties={"order_id": "o1"}))

    assert before == (encode(one), encode(other))


@laws
@given(histories)
def test_every_profile_has_the_documented_shape(events: list[dict[str, Any]]) -> None:
    shape = Profile.model_validate_json(encode(fold(events)))

    assert len(events) == shape.event_count


@laws
@given(histories)
def test_the_sums_of_orders_are_those_of_their_details(events: list[dict[str, Any]]) -> None:
    orders = fold(events).get("orders", {"by_id": {}, "count": 0})
    again: dict[str, Any] = {"count": 0, "by_id": {}}
    for order_id, order in orders["by_id"].items():
        profile_orders.join_orders(again, profile_orders.section_of({order_id: order}))

    assert again == orders
