"""Browsers and phones: what an SDK says of the device and the page in the context of every event.

Everything follows from the person's number, without a draw. Network addresses are those of documentation (RFC 5737,
RFC 3849). User agents are those of browsers in use; what analytics.js and the mobile SDKs send is described at
https://segment.com/docs/connections/spec/common.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from deploy.demo.simulator.retailer import SITE

_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
USER_AGENTS = (
    f"Mozilla/5.0 (Linux; Android 10; K) {_WEBKIT} Chrome/140.0.0.0 Mobile Safari/537.36",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/140.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.6 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.6 Safari/605.1.15",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0",
    f"Mozilla/5.0 (Linux; Android 10; K) {_WEBKIT} SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
    "Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.6 Mobile/15E148 Safari/604.1",
)

_PHONES = (
    ("Apple", "iPhone15,4", "ios", "iOS", "18.6.2"),
    ("Google", "Pixel 8", "android", "Android", "16"),
    ("samsung", "SM-S921B", "android", "Android", "15"),
    ("Apple", "iPhone14,7", "ios", "iOS", "17.7.1"),
    ("Xiaomi", "23078PND5G", "android", "Android", "14"),
)
_DOCUMENTATION = ("192.0.2", "198.51.100", "203.0.113")
_HOSTS = 254
_APP = {"name": "Shop", "version": "5.12.0", "build": "5120", "namespace": "example.shop"}

Context = dict[str, Any]


class Click(NamedTuple):
    """How the landing page of a visit was reached.

    Attributes:
        campaign: What its `utm_` parameters say; None: there are none.
        referrer: Address of the page before; empty: none is known.
        click_id: Parameter that the advertising network adds, with its value, as `gclid=…`; empty: none.
        path: Path of the landing page.
    """

    campaign: dict[str, str] | None = None
    referrer: str = ""
    click_id: str = ""
    path: str = "/"

    @property
    def search(self) -> str:
        """The query of the landing page's address, with its `?`; empty if there is none."""
        given = self.campaign or {}
        parts = [f"utm_{'campaign' if name == 'name' else name}={value}" for name, value in given.items()]
        parts += [self.click_id] if self.click_id else []
        return "?" + "&".join(parts) if parts else ""


def network_address(index: int) -> str:
    """Return the network address of a person's home: of three, two have one of IPv4."""
    if index % 3 == 0:
        return f"2001:db8:{index // 65_536:x}:{index % 65_536:x}::1"
    host = index * 7919 % (_HOSTS * len(_DOCUMENTATION))
    return f"{_DOCUMENTATION[host // _HOSTS]}.{host % _HOSTS + 1}"


def browser_context(index: int, number: int, person: Context) -> Context:
    """Return the context that analytics.js gives every event of one browser, without the page.

    Args:
        index: The person's number.
        number: Which of the person's browsers it is.
        person: Locale and time zone of the person.
    """
    user_agent = USER_AGENTS[(index * 5 + number * 3 + index // 8) % len(USER_AGENTS)]
    return {**person, "ip": network_address(index), "user_agent": user_agent, "library": {"name": "analytics.js"}}


def app_context(index: int, person: Context) -> Context:
    """Return the context that a mobile SDK gives every event of a phone: no address of a page is among it."""
    manufacturer, model, kind, system, version = _PHONES[index % len(_PHONES)]
    context = {
        **person,
        "ip": network_address(index),
        "app": _APP,
        "device": {"manufacturer": manufacturer, "model": model, "type": kind},
        "os": {"name": system, "version": version},
        "library": {"name": "analytics-kotlin" if kind == "android" else "analytics-swift"},
    }
    if kind == "android":
        context["user_agent"] = f"Dalvik/2.1.0 (Linux; U; Android {version}; {model} Build/AP3A.240905.015)"
    return context


def page(path: str, title: str, search: str, referrer: str) -> dict[str, str]:
    """Return the page of an event as analytics.js describes it; a referrer that is not known is empty."""
    return {"path": path, "referrer": referrer, "search": search, "title": title, "url": f"{SITE}{path}{search}"}
