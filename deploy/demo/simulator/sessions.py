"""Sessions on the site and in the app: browsing, signing in, filling and leaving carts, buying."""

from __future__ import annotations

from typing import Any

from deploy.demo.simulator.orders import order
from deploy.demo.simulator.people import Person
from deploy.demo.simulator.retailer import COUPONS, CURRENCY, SITE
from deploy.demo.simulator.world import World
from schemas.durations import HOUR_MS

_COUPON_CODES = tuple(COUPONS)


def web(
    world: World,
    ms: int,
    person: Person,
    campaign: dict[str, str] | None = None,
    referrer: str = "",
    recognised: tuple[str, ...] = (),
) -> None:
    """A session in one of the person's browsers; `recognised` are the slots that the followed link identifies."""
    draw = world.rng.random()
    browser = person.browsers[int(draw * draw * len(person.browsers))]
    page = {"path": "/", "url": f"{SITE}/"}
    if referrer:
        page["referrer"] = referrer
    session = Session(world, ms, person, browser, "web", recognised)
    session.context["page"] = page
    session.open("Page Viewed", campaign)
    del session.context["page"]
    session.run()


def app(world: World, ms: int, person: Person, campaign: dict[str, str] | None = None) -> None:
    """A session in the app; one in ten happens without a network, and its events arrive hours later."""
    token = ("push_token",) if world.rng.random() < 0.5 else ()
    session = Session(world, ms, person, "device_id", "app", token)
    if world.rng.random() < 0.10:
        session.arrives = ms + int((1 + world.rng.random() * 30) * HOUR_MS)
    session.open("Application Opened", campaign)
    session.run()


class Session:
    """One session on one device.

    Attributes:
        ms: The current time; every step advances it.
        device: Slot of the device.
        arrives: When all of its events are delivered; 0: within seconds.
        context: The context of its events.
        identifiers: The identifiers of its events.
    """

    def __init__(
        self, world: World, ms: int, person: Person, device: str, channel: str, recognised: tuple[str, ...]
    ) -> None:
        self.world = world
        self.ms = ms
        self.person = person
        self.device = device
        self.channel = channel
        self.source = "shop-eu" if channel == "web" else "shop-app"
        self.arrives = 0
        world.sessions += 1
        self.context: dict[str, Any] = {**person.context, "session_id": f"{world.run}-s{world.sessions}"}
        known = ("user_id",) if device in person.signed_in else ()
        self.identifiers = person.identifiers(world.rng, device, *known, *recognised)

    def open(self, event: str, campaign: dict[str, str] | None) -> None:
        """Send the first event, the only one that carries the campaign."""
        self._send(event, campaign=campaign)
        self.ms += 3_000 + int(self.world.rng.random() * 20_000)

    def run(self) -> None:
        """Simulate the rest of the session."""
        person, uniform = self.person, self.world.rng.random
        if person.kind != "browser" and self.device not in person.signed_in and uniform() < 0.30:
            self._sign_in()
        viewed = self._browse()
        # A person who comes back to a full cart is close to buying.
        buys = self.world.buys(person, self.ms, 0.9 if person.cart else 0.0)
        if buys or uniform() < 0.10:
            self._fill_cart(viewed)
        if not person.cart:
            return
        if buys:
            self._check_out()
        else:
            self.world.on_abandoned(self.world, self.ms, person)

    def _send(
        self,
        event: str,
        *,
        properties: dict[str, Any] | None = None,
        campaign: dict[str, str] | None = None,
        traits: dict[str, Any] | None = None,
        consent: dict[str, Any] | None = None,
    ) -> None:
        self.world.outbox.send(
            self.ms,
            event,
            self.channel,
            self.source,
            self.identifiers,
            arrives=self.arrives,
            campaign=campaign,
            context=self.context,
            properties=properties,
            traits=traits,
            consent=consent,
        )

    def _step(self, event: str, properties: dict[str, Any]) -> None:
        self._send(event, properties=properties)
        self.ms += 4_000 + int(self.world.rng.random() * 40_000)

    def _sign_in(self) -> None:
        """Sign up or in, which links the anonymous events of the device to the person."""
        person, rng = self.person, self.world.rng
        new = not person.account
        if new and rng.random() < 0.5:
            return
        person.account = True
        person.signed_in.add(self.device)
        if new or rng.random() < 0.5:
            self.identifiers = person.identifiers(rng, self.device, "user_id", "email")
        else:
            self.identifiers = person.identifiers(rng, self.device, "user_id")
        self._step("Signed Up" if new else "Signed In", {"method": "password"})
        if new:
            person.mailable = rng.random() < 0.8
            consent = {"marketing": person.mailable, "analytics": True, "channels": person.channels()}
            names = {"first_name": person.given, "last_name": person.family}
            self._send("Identify", traits=names, consent=consent)
        if person.carded and not person.linked_card and rng.random() < 0.35:
            # Linking the card joins purchases at the till and on line.
            person.linked_card = True
            self.identifiers = person.identifiers(rng, "user_id", "loyalty_id", "email")
            self._send("Identify", traits={"loyalty_member": True})
        self.identifiers = person.identifiers(rng, self.device, "user_id")

    def _browse(self) -> int | None:
        """Search, view lists and articles; return the last article viewed."""
        world, uniform = self.world, self.world.rng.random
        if uniform() < 0.25:
            self._step("Products Searched", {"query": world.products[world.random_article()].name.lower()})
        elif uniform() < 0.35:
            category = world.products[world.random_article()].category
            self._step("Product List Viewed", {"list_id": category.lower(), "category": category})
        viewed = None
        for _ in range(int(uniform() * uniform() * 7) if uniform() < 0.75 else 0):
            viewed = world.random_article()
            self._step("Product Viewed", {**world.products[viewed].card, "currency": CURRENCY})
        return viewed

    def _fill_cart(self, viewed: int | None) -> None:
        person, world, uniform = self.person, self.world, self.world.rng.random
        for _ in range(1 + int(uniform() * 2.2)):
            article = world.random_article() if viewed is None or person.cart else viewed
            person.cart.append(article)
            self._step("Product Added", {**self._about(article), "quantity": 1})
        if len(person.cart) > 3 or (len(person.cart) > 1 and uniform() < 0.06):
            self._step("Product Removed", self._about(person.cart.pop()))

    def _about(self, article: int) -> dict[str, Any]:
        return {**self.world.products[article].card, "currency": CURRENCY, "cart_id": self.person.cart_id}

    def _check_out(self) -> None:
        person, uniform = self.person, self.world.rng.random
        cart = {"cart_id": person.cart_id}
        self._step("Cart Viewed", cart)
        self._step("Checkout Started", {**cart, "currency": CURRENCY})
        coupon = _COUPON_CODES[int(uniform() * len(_COUPON_CODES))] if uniform() < 0.20 else ""
        if coupon:
            self._step("Coupon Applied", {**cart, "coupon_id": coupon})
        if uniform() < 0.6:
            self._step("Payment Info Entered", {"payment_method": "card"})
        # A guest enters addresses; an account has them.
        known = ("user_id", "email") if self.device in person.signed_in else ("email", "phone")
        order(
            self.world,
            self.ms,
            person,
            self.channel,
            self.source,
            (self.device, *known),
            coupon=coupon,
            context=self.context,
            arrives=self.arrives,
        )
