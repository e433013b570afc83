"""What must be in the stores after a fault, recomputed from the ledger, and compared with what is there.

It shares no code with the product: it knows the traffic, reads rows, documents and letters, and counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from tests.fault.table.traffic import REMINDED_AFTER_S, Ledger, Sent

_UNSURE_S = 1.5
"""An order that Kafka had so shortly before its cart's reminder, or later, may come before it or after."""


@dataclass(frozen=True)
class Seen:
    """What the stores and the mail server hold of one row of the table.

    Attributes:
        rows: Event id → rows of it.
        profiles: Event id → the profile that it belongs to now.
        revenue: Order's event id → what the conversion is worth.
        stored: Profile id → events of it that ClickHouse has, receipts too.
        counted: Profile id → events that its document has counted.
        letters: Address → letters that came.
        in_doubt: Address → letters of which the receipts say that it is not known whether they came.
        unaccounted: The accounting difference, and offsets without an outcome.
    """

    rows: Mapping[str, int]
    profiles: Mapping[str, str]
    revenue: Mapping[str, Decimal]
    stored: Mapping[str, int]
    counted: Mapping[str, int]
    letters: Mapping[str, int] = field(default_factory=dict)
    in_doubt: Mapping[str, int] = field(default_factory=dict)
    unaccounted: int = 0


@dataclass
class Findings:
    """What differs.

    Attributes:
        missing: What had to be there and is not: each a sentence.
        invented: What is there and had not to be.
    """

    missing: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)


def compare(ledger: Ledger, seen: Seen) -> Findings:
    """Compare a ledger with what is seen."""
    found = Findings()
    events = {name: sent for name, sent in ledger.events.items() if sent.acknowledged is not None}
    _compare_events(ledger, events, seen, found)
    _compare_people(ledger, events, seen, found)
    _compare_letters(ledger, events, seen, found)
    if seen.unaccounted:
        found.missing.append(f"{seen.unaccounted} records are not accounted for")
    return found


def _compare_events(ledger: Ledger, events: Mapping[str, Sent], seen: Seen, found: Findings) -> None:
    found.missing += [f"event {name}" for name in events if name not in seen.rows]
    found.invented += [f"event {name} was never sent" for name in seen.rows if name not in ledger.events]
    found.invented += [f"event {name} is stored {rows} times" for name, rows in seen.rows.items() if rows > 1]
    for name, sent in events.items():
        if sent.revenue and (worth := seen.revenue.get(name, Decimal(0))) != sent.revenue:
            (found.missing if worth < sent.revenue else found.invented).append(f"order {name} is worth {worth}")
    found.invented += [f"order {name}" for name in seen.revenue if name not in ledger.events]


def _compare_people(ledger: Ledger, events: Mapping[str, Sent], seen: Seen, found: Findings) -> None:
    owners: defaultdict[str, set[str]] = defaultdict(set)
    profiles: defaultdict[str, set[str]] = defaultdict(set)
    for name, sent in events.items():
        if profile := seen.profiles.get(name):
            owners[profile].add(sent.person)
            profiles[sent.person].add(profile)
    # Where Kafka has not acknowledged a sign-in, nobody knows whether a browser and an address are of one person.
    unsure = {sent.person for sent in ledger.events.values() if sent.signs_in and sent.acknowledged is None}
    split = {person: those for person, those in profiles.items() if len(those) > 1 and person not in unsure}
    found.invented += [f"{person} is {len(those)} people" for person, those in split.items()]
    found.missing += [f"{len(those)} people are one" for those in owners.values() if len(those) > 1]
    for profile in owners:
        stored, counted = seen.stored.get(profile, 0), seen.counted.get(profile, 0)
        if counted != stored:
            said = f"profile {profile} has counted {counted} of {stored} events"
            (found.missing if counted < stored else found.invented).append(said)


def _compare_letters(ledger: Ledger, events: Mapping[str, Sent], seen: Seen, found: Findings) -> None:
    """A cart without an order has one reminder, one that was ordered in time has none."""
    orders = {sent.person: sent.acknowledged for sent in ledger.events.values() if sent.revenue}
    carts = {sent.person for sent in ledger.events.values() if sent.in_cart}
    for person, letters in seen.letters.items():
        if person not in carts:
            found.invented.append(f"{person} has a letter and had no cart")
        elif letters > 1:
            found.invented.append(f"{person} has {letters} letters")
    for cart in (sent for sent in events.values() if sent.in_cart):
        came = seen.letters.get(cart.person, 0)
        if cart.person not in orders:
            if not came and not seen.in_doubt.get(cart.person):
                found.missing.append(f"the letter to {cart.person}")
        elif came and (order := orders[cart.person]) and order < cart.at + REMINDED_AFTER_S - _UNSURE_S:
            found.invented.append(f"{cart.person} is reminded of what was ordered")
