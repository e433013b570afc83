"""Visits of the site and the app as SDKs report them: browsing, signing in, filling and leaving carts, buying.

No event has a session id. A page's address, title and referrer are in every event of the page, and its campaign in all
of them; on the next page both are gone, unless the visitor gets there without loading a page. A visitor who pays comes
back from the site of the payment provider or the bank.
"""

from __future__ import annotations

from typing import Any

from deploy.demo.simulator.devices import Click, app_context, browser_context, page
from deploy.demo.simulator.orders import order
from deploy.demo.simulator.people import ARABIC, ARABIC_DIGITS, Person
from deploy.demo.simulator.retailer import COUPONS, CURRENCY
from deploy.demo.simulator.world import World
from schemas.durations import HOUR_MS, MINUTE_MS

_COUPON_CODES = tuple(COUPONS)
_DIRECT = Click()

# How people pay, and which site they come back from: known ones of payment providers, and those of banks.
_PAYMENTS = (
    ("card", "https://acs.creditbank.example/challenge"),
    ("card", "https://secure.stadtbank.example/"),
    ("card", ""),
    ("paypal", "https://www.paypal.com/"),
    ("klarna", "https://pay.klarna.com/"),
)
_SIGN_IN = "https://accounts.google.com/"
_WITHOUT_LOADING = 0.3
"""Share of steps to another page that load none: the query, its campaign and the referrer stay."""
_PAUSES = 0.05
"""Share of visits that rest in a tab for longer than a visit lasts, and go on."""


def web(
    world: World, ms: int, person: Person, click: Click = _DIRECT, recognised: tuple[str, ...] = ()
) -> None:  # fmt: skip
    """A visit in one of the person's browsers; `recognised` are the slots that the followed link identifies."""
    draw = world.rng.random()
    number = int(draw * draw * len(person.browsers))
    context = browser_context(person.index, number, person.context)
    WebVisit(world, ms, person, person.browsers[number], context, recognised, click).run()


def app(world: World, ms: int, person: Person, campaign: dict[str, str] | None = None) -> None:
    """A visit in the app; one in ten happens without a network, and its events arrive hours later."""
    token = ("push_token",) if world.rng.random() < 0.5 else ()
    visit = AppVisit(world, ms, person, "device_id", app_context(person.index, person.context), token)
    if world.rng.random() < 0.10:
        visit.arrives = ms + int((1 + world.rng.random() * 30) * HOUR_MS)
    visit.open(campaign)
    visit.run()
    visit.close()


class Visit:
    """One visit on one device.

    Attributes:
        ms: The current time; every step advances it.
        device: Slot of the device.
        arrives: When all of its events are delivered; 0: within seconds.
        context: The context of its events.
        campaign: The campaign of its events; None: none now.
        identifiers: The identifiers of its events.
    """

    channel = "app"
    source = "shop-app"

    def __init__(
        self, world: World, ms: int, person: Person, device: str, context: dict[str, Any], recognised: tuple[str, ...]
    ) -> None:
        self.world = world
        self.ms = ms
        self.person = person
        self.device = device
        self.arrives = 0
        self.context = context
        self.campaign: dict[str, str] | None = None
        known = ("user_id",) if device in person.signed_in else ()
        self.identifiers = person.identifiers(world.rng, device, *known, *recognised)

    def show(self, path: str, title: str) -> None:
        """Go to another page of the site; an app has none."""

    def return_from(self, referrer: str, path: str, title: str) -> None:
        """Come back to a page of the site from another site; an app does not leave."""

    def run(self) -> None:
        """Simulate the visit from its first page or screen on."""
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

    def send(
        self,
        event: str,
        *,
        properties: dict[str, Any] | None = None,
        traits: dict[str, Any] | None = None,
        consent: dict[str, Any] | None = None,
    ) -> None:
        """Send an event of now."""
        self.world.outbox.send(
            self.ms,
            event,
            self.channel,
            self.source,
            self.identifiers,
            arrives=self.arrives,
            campaign=self.campaign,
            context=self.context,
            properties=properties,
            traits=traits,
            consent=consent,
        )

    def _step(self, event: str, properties: dict[str, Any]) -> None:
        self.send(event, properties=properties)
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
        elsewhere = rng.random() < 0.2
        if elsewhere:
            self.return_from(_SIGN_IN, "/account", "Your account")
        else:
            self.show("/account", "Your account")
        self._step("Signed Up" if new else "Signed In", {"method": "google" if elsewhere else "password"})
        if new:
            person.mailable = rng.random() < 0.8
            consent = {"marketing": person.mailable, "analytics": True, "channels": person.channels()}
            names = {"first_name": person.given, "last_name": person.family}
            self.send("Identify", traits=names, consent=consent)
        if person.carded and not person.linked_card and rng.random() < 0.35:
            # Linking the card joins purchases at the till and on line.
            person.linked_card = True
            self.identifiers = person.identifiers(rng, "user_id", "loyalty_id", "email")
            self.send("Identify", traits={"loyalty_member": True})
        self.identifiers = person.identifiers(rng, self.device, "user_id")

    def _browse(self) -> int | None:
        """Search, view lists and articles; return the last article viewed."""
        world, uniform = self.world, self.world.rng.random
        if uniform() < 0.25:
            query = world.products[world.random_article()].name.lower()
            self.show("/search", "Search")
            self._step("Products Searched", {"query": query})
        elif uniform() < 0.35:
            category = world.products[world.random_article()].category
            self.show(f"/{category.lower()}", category)
            self._step("Product List Viewed", {"list_id": category.lower(), "category": category})
        viewed = None
        for _ in range(int(uniform() * uniform() * 7) if uniform() < 0.75 else 0):
            viewed = world.random_article()
            product = world.products[viewed]
            self.show(f"/products/{product.product_id}", product.name)
            self._step("Product Viewed", {**product.card, "currency": CURRENCY})
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
        self.show("/cart", "Your cart")
        self._step("Cart Viewed", cart)
        self.show("/checkout", "Checkout")
        self._step("Checkout Started", {**cart, "currency": CURRENCY})
        coupon = _COUPON_CODES[int(uniform() * len(_COUPON_CODES))] if uniform() < 0.20 else ""
        if coupon:
            self._step("Coupon Applied", {**cart, "coupon_id": coupon})
        method, elsewhere = _PAYMENTS[int(uniform() * len(_PAYMENTS))]
        if uniform() < 0.6:
            self._step("Payment Info Entered", {"payment_method": method})
        if elsewhere:
            self.return_from(elsewhere, "/checkout/thank-you", "Thank you")
        else:
            self.show("/checkout/thank-you", "Thank you")
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
            campaign=self.campaign,
            arrives=self.arrives,
        )


class WebVisit(Visit):
    """A visit in a browser: every event has its page.

    Args:
        world: The simulation.
        ms: When it begins.
        person: Who visits.
        device: Slot of the browser.
        context: The context of its events, without the page.
        recognised: Slots that the followed link identifies.
        click: How the landing page was reached.
    """

    channel = "web"
    source = "shop-eu"

    def __init__(
        self, world: World, ms: int, person: Person, device: str, context: dict[str, Any],
        recognised: tuple[str, ...], click: Click,
    ) -> None:  # fmt: skip
        super().__init__(world, ms, person, device, context, recognised)
        self._browser = context
        self._click = click
        self._pauses = world.rng.random() < _PAUSES
        self.campaign = click.campaign
        self._load(click.path, "Shop", click.search, click.referrer)

    def run(self) -> None:
        """Land, and simulate the rest of the visit."""
        self.send("Page Viewed")
        self.ms += 3_000 + int(self.world.rng.random() * 20_000)
        super().run()

    def show(self, path: str, title: str) -> None:
        """Go to another page of the site, with or without loading it; sometimes after a long pause."""
        if self._pauses:
            self._pauses = False
            self.ms += int((35 + self.world.rng.random() * 120) * MINUTE_MS)
        elif self.world.rng.random() < _WITHOUT_LOADING:
            self._load(path, title, self._page["search"], self._page["referrer"])
            return
        self.campaign = None
        self._load(path, title, "", self._page["url"])

    def return_from(self, referrer: str, path: str, title: str) -> None:
        """Come back from another site, after some minutes there; the landing page has another referrer for it."""
        self.ms += 30_000 + int(self.world.rng.random() * 5 * MINUTE_MS)
        self.campaign = None
        self._load(path, title, "", referrer)

    def _load(self, path: str, title: str, search: str, referrer: str) -> None:
        self._page = page(path, title, search, referrer)
        self.context = {**self._browser, "page": self._page}


class AppVisit(Visit):
    """A visit in the app: events of its life cycle begin and end it."""

    def open(self, campaign: dict[str, str] | None) -> None:
        """Open the app, the only event that carries the campaign of a push message."""
        person, app_version = self.person, {"version": "5.12.0", "build": "5120"}
        if not person.installed:
            person.installed = True
            self._step("Application Installed", app_version)
        self.campaign = campaign
        self.send("Application Opened", properties={**app_version, "from_background": campaign is not None})
        self.campaign = None
        self.ms += 3_000 + int(self.world.rng.random() * 20_000)

    def _step(self, event: str, properties: dict[str, Any]) -> None:
        if self.person.context["locale"] == ARABIC and "price" in properties:
            properties = {**properties, "price": properties["price"].translate(ARABIC_DIGITS)}
        super()._step(event, properties)

    def close(self) -> None:
        """Leave the app; where the system ends it, nobody hears of it."""
        if self.world.rng.random() < 0.5:
            self.send("Application Backgrounded")
