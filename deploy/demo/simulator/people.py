"""Customers with several devices and several spellings of one address, which identity resolution has to connect.

All addresses are reserved for fiction: e-mail under example.com, .org and .net (RFC 2606), telephone numbers of the
blocks that the French regulator ARCEP reserves for film and television (50,000; later people have no telephone).
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from deploy.demo.simulator.retailer import STORES, Store

_GIVEN = (
    "Ada", "Alice", "Amir", "Anna", "Bruno", "Camille", "Carla", "Chloé", "Daniel", "Elena", "Emil", "Eva", "Farid",
    "Felix", "Fiona", "Hana", "Hugo", "Ida", "Ines", "Jan", "Jonas", "Julia", "Karim", "Lara", "Léa", "Lina",
    "Louis", "Lucie", "Marc", "Mila", "Nadia", "Nils", "Noah", "Nora", "Olga", "Omar", "Paul", "Pia", "Rosa", "Sami",
    "Sara", "Theo", "Tomas", "Uma", "Vera", "Victor", "Yara", "Zoé",
)  # fmt: skip
_FAMILY = (
    "Adler", "Bauer", "Benali", "Bernard", "Blanc", "Bosch", "Caron", "Costa", "Dubois", "Dupont", "Durand", "Fabre",
    "Ferrari", "Fischer", "Garcia", "Girard", "Haas", "Hansen", "Ivanova", "Jansen", "Keller", "Kovac", "Lambert",
    "Laurent", "Lefevre", "Lopez", "Marin", "Martin", "Mercier", "Meyer", "Moreau", "Nowak", "Petit", "Peters",
    "Renard", "Ricci", "Rossi", "Roux", "Santos", "Schmidt", "Silva", "Stein", "Vidal", "Weber", "Wolf",
)  # fmt: skip
_TELEPHONE_BLOCKS = ("19900", "26191", "35301", "46571", "53649")
_PLACEHOLDERS = (("user_id", "null"), ("email", "anonymous"), ("phone", "0000000000"), ("user_id", "undefined"))

# Shares of the population: anonymous browsers, online shoppers, shoppers on all channels, regulars of a shop.
_KINDS = (("browser", 0.22), ("online", 0.33), ("omnichannel", 0.33), ("regular", 0.12))
_ACTIVITY = {"browser": 3.0, "online": 5.0, "omnichannel": 6.5, "regular": 4.0}

ARABIC = "ar-EG"
"""A locale whose phones write numbers in digits of their own."""
ARABIC_DIGITS = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")

Identifiers = list[dict[str, Any]]


class Person:
    """One person: identifiers, what the retailer knows, and the desire to buy.

    Attributes:
        slots: Slot → (identifier type, canonical value); a slot is a type, with a number where there are several.
        browsers: Slots of the person's browsers, the most used first.
        account: Has an account (user_id).
        signed_in: Slots of devices on which the account is signed in.
        carded: The loyalty card has been handed out.
        linked_card: The card is linked with the account.
        mailable: The retailer knows the e-mail address and may use it.
        bounces: The mailbox no longer exists.
        desire: Log-odds added to buying by touches, as of `desire_ms`.
        installed: The app has been opened before.
        cart: Articles put into the cart and not bought.
        points: Loyalty points.
    """

    __slots__ = (
        "_links", "_spelt", "account", "activity", "bounces", "browsers", "carded", "cart", "cart_id", "context",
        "desire", "desire_ms", "family", "given", "index", "installed", "kind", "linked_card", "mailable", "orders",
        "phone_ok", "points", "push_ok", "shared", "signed_in", "slots", "store",
    )  # fmt: skip

    def __init__(self, index: int, kind: str, store: Store, run: str) -> None:
        self.index = index
        self.kind = kind
        self.store = store
        self.given = self.family = ""
        self.slots: dict[str, tuple[str, str]] = {}
        self.browsers: list[str] = []
        self.shared = ""
        self.signed_in: set[str] = set()
        self.account = self.carded = self.linked_card = False
        self.mailable = self.bounces = self.phone_ok = self.push_ok = self.installed = False
        self.activity = 0.0
        self.desire = 0.0
        self.desire_ms = 0
        self.cart: list[int] = []
        self.cart_id = f"cart-{run}-{index}-0"
        self.orders = 0
        self.points = 0
        self.context: dict[str, Any] = {}
        self._spelt: dict[str, dict[str, Any]] = {}
        self._links: set[tuple[str, ...]] = set()

    def identifiers(self, rng: Random, *slots: str, national: bool = False) -> Identifiers:
        """Return the person's identifiers in `slots`, each in one of a few spellings.

        All events take their identifiers from here, so that `profiles` knows which were seen together.

        Args:
            rng: The only source of random numbers.
            *slots: Slots; those that the person has not are left out.
            national: The producer may write a telephone number without its country code: the event says the country.
        """
        self._links.add(slots)
        draw = rng.random()
        variant = int(draw * 4)
        if national and variant == 3:
            variant = _NATIONAL
        given = [self._spell(slot, variant) for slot in slots if slot in self.slots]
        if draw > 0.975:
            # A careless producer fills an empty field with a placeholder, which must not identify anyone.
            kind, value = _PLACEHOLDERS[int(rng.random() * len(_PLACEHOLDERS))]
            given.append({"type": kind, "value": value})
        return given

    def _spell(self, slot: str, variant: int) -> dict[str, Any]:
        kind, value = self.slots[slot]
        key = f"{slot}{variant}" if kind in {"email", "phone"} else slot
        identifier = self._spelt.get(key)
        if identifier is None:
            identifier = self._spelt[key] = {"type": kind, "value": _SPELLINGS.get(kind, _plain)(value)[variant]}
            if kind == "email":
                identifier["verified"] = variant == 0
        return identifier

    def channels(self) -> dict[str, bool]:
        """Return the channels that reach the person, and whether there is consent for each."""
        wanted = {
            "email": ("email", self.mailable),
            "sms": ("phone", self.phone_ok),
            "whatsapp": ("whatsapp_id", self.phone_ok and self.mailable),
            "app_push": ("push_token", self.push_ok),
        }
        return {channel: wants for channel, (slot, wants) in wanted.items() if slot in self.slots}

    def profiles(self) -> Iterator[list[tuple[str, str]]]:
        """Yield the ground truth: the person's identifiers, grouped by the links that events make.

        One group if everything is linked; a browser that was never used with another identifier is a group of its own.
        A device that a household shares links nothing and is left out.
        """
        groups: list[set[str]] = []
        for link in sorted(self._links):
            # A WhatsApp id is the telephone number: the same identifier by another name.
            seen = {"phone" if slot == "whatsapp_id" else slot for slot in link if slot in self.slots}
            joined = seen - {self.shared}
            separated = []
            for group in groups:
                if group & joined:
                    joined |= group
                else:
                    separated.append(group)
            groups = [*separated, joined] if joined else separated
        for group in groups:
            yield sorted(self.slots[slot] for slot in group)


def _plain(value: str) -> tuple[str, ...]:
    return (value,) * 5


def _emails(value: str) -> tuple[str, ...]:
    return value, value.upper(), value.title(), f" {value} ", value


def _phones(value: str) -> tuple[str, ...]:
    digits = value.removeprefix("+33")
    pairs = f"{digits[0]} {digits[1:3]} {digits[3:5]} {digits[5:7]} {digits[7:]}"
    return value, f"+33 {pairs}", f"+33 (0){pairs}", "+33-" + pairs.replace(" ", "-"), f"0{pairs}"


_SPELLINGS = {"email": _emails, "phone": _phones}
_NATIONAL = 4
"""The spelling of a telephone number that depends on the country where it is written."""


def _kind(rng: Random) -> str:
    draw = rng.random()
    for kind, share in _KINDS:
        draw -= share
        if draw < 0:
            return kind
    return _KINDS[-1][0]


def population(rng: Random, count: int, run: str) -> list[Person]:
    """Return `count` people. About one in a hundred shares a browser with the person before."""
    people: list[Person] = []
    for index in range(count):
        person = Person(index, _kind(rng), STORES[int(rng.random() * len(STORES))], run)
        _assign_identifiers(person, rng, f"{run}{index:06x}")
        if people and rng.random() < 0.01 and people[-1].browsers and person.browsers and not people[-1].shared:
            shared = person.browsers[-1]
            person.shared = people[-1].shared = "anonymous_id/shared"
            value = person.slots.pop(shared)
            for owner in (person, people[-1]):
                owner.slots["anonymous_id/shared"] = value
            person.browsers[-1] = "anonymous_id/shared"
            people[-1].browsers.append("anonymous_id/shared")
        people.append(person)
    return people


def _assign_identifiers(person: Person, rng: Random, tag: str) -> None:
    uniform = rng.random
    index, kind = person.index, person.kind
    person.given, person.family = _GIVEN[int(uniform() * len(_GIVEN))], _FAMILY[int(uniform() * len(_FAMILY))]
    person.activity = _ACTIVITY[kind] * (0.35 + rng.expovariate(1 / 0.65))
    slots = person.slots
    for number in range(1 if kind == "regular" else 1 + int(uniform() * 3)):
        slot = f"anonymous_id/{number}"
        slots[slot] = ("anonymous_id", f"{tag}-b{number}")
        person.browsers.append(slot)
    locale = ("fr-FR", "en-GB", "de-DE")[int(uniform() ** 2 * 3)]
    person.context = {"locale": ARABIC if index % 60 == 17 else locale, "timezone": "Europe/Paris"}
    if kind == "browser":
        return
    word = f"{person.given}.{person.family}".lower().replace("é", "e").replace("ë", "e")
    domain = ("com", "org", "net")[int(uniform() * 3)]
    slots["email"] = ("email", f"{word}.{tag}@example.{domain}")
    slots["user_id"] = ("user_id", f"u-{tag}")
    if uniform() < 0.75 and index < 10_000 * len(_TELEPHONE_BLOCKS):
        block = _TELEPHONE_BLOCKS[index % len(_TELEPHONE_BLOCKS)]
        slots["phone"] = ("phone", f"+33{block}{index // len(_TELEPHONE_BLOCKS):04d}")
        person.phone_ok = uniform() < 0.5
        if uniform() < 0.35:
            slots["whatsapp_id"] = ("whatsapp_id", slots["phone"][1][1:])
    if uniform() < 0.10:
        slots["messenger_id"] = ("messenger_id", f"m-{tag}")
    if uniform() < 0.12:
        slots["telegram_id"] = ("telegram_id", f"t-{tag}")
    if kind != "online" or uniform() < 0.25:
        slots["loyalty_id"] = ("loyalty_id", f"L-{tag}")
        person.carded = uniform() < 0.6
    if kind != "regular" and uniform() < (0.75 if kind == "omnichannel" else 0.35):
        slots["device_id"] = ("device_id", f"d-{tag}")
        slots["push_token"] = ("push_token", f"tok-{tag}")
        person.push_ok = uniform() < 0.6
    slots["crm_id"] = ("crm_id", f"crm-{tag}")
    person.account = uniform() < 0.45
    person.mailable = person.account and uniform() < 0.8
    person.bounces = uniform() < 0.03
