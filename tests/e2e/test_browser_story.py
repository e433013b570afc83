"""A person comes by search, again by an ad, pays elsewhere and comes back: two touches, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.settings import Settings
from tests.support.browser import Shop, Visitor, visitor
from tests.support.collector import RunningCollector, collector
from tests.support.packages import npm_packages
from tests.support.pipeline import Pipeline

pytestmark = pytest.mark.e2e

SEGMENT, RUDDERSTACK = "@segment/analytics-next@1.84.3", "@rudderstack/analytics-js@3.34.1"

SEGMENT_PAGE = """
<title>{title}</title><body>{body}<script src="/segment/index.js"></script><script>
window.analytics = AnalyticsNext.AnalyticsBrowser.load({{writeKey: "web-key", cdnURL: "{url}"}});
analytics.page();
</script></body>"""

RUDDERSTACK_PAGE = """
<title>{title}</title><body>{body}<script src="/rudderstack/index.js"></script><script>
window.analytics = new rudderanalytics.RudderAnalytics();
analytics.load("web-key", "{url}", {{configUrl: "{url}", plugins: [], sessions: {{autoTrack: true}}}});
analytics.page();
</script></body>"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The two SDKs, as their packages have them."""
    modules = npm_packages(tmp_path_factory.mktemp("npm"), SEGMENT, RUDDERSTACK)
    return {
        "segment": modules / "@segment/analytics-next/dist/umd",
        "rudderstack": modules / "@rudderstack/analytics-js/dist/npm/legacy/bundled/umd",
    }


@pytest.fixture
def shop(scripts: dict[str, Path]) -> Iterator[Shop]:
    """The shop's server."""
    found = Shop(scripts)
    yield found
    found.stop()


@pytest.fixture
def running(stack: Settings, tmp_path: Path) -> Iterator[tuple[Pipeline, RunningCollector]]:
    """The pipeline with a collector before it."""
    with Pipeline(stack, tmp_path) as pipeline, collector(stack, tmp_path) as service:
        yield pipeline, service


@pytest.fixture
def person(shop: Shop, tmp_path: Path) -> Iterator[Visitor]:
    """A browser that was never here."""
    with visitor(shop, tmp_path / "profile") as found:
        yield found


def build(shop: Shop, template: str, url: str) -> None:
    """Build the shop: two pages of products, a checkout that leaves for a payment page, and a page of thanks."""
    to_pay = '<a id="pay" href="http://www.saferpay.com/vt2/mpi">Pay</a>'
    pages = {"/jeans": "Jeans", "/checkout": to_pay, "/thanks": "Thank you"}
    for path, body in pages.items():
        shop.pages[f"shop.example{path}"] = template.format(title=path, body=body, url=url)
    shop.pages["www.saferpay.com/vt2/mpi"] = '<a id="back" href="http://shop.example/thanks">Back to the shop</a>'


def shopping(person: Visitor, service: RunningCollector) -> str:
    """Come by search, look around, come by an ad, look around, pay; return the browser's anonymous id."""
    page = person.page
    page.goto("http://shop.example/jeans", referer="https://www.google.com/")
    page.evaluate("analytics.track('Product Viewed', {product_id: 'P-1'})")
    person.wait_for(2)
    page.evaluate("history.pushState({}, '', '/jeans/blue'); analytics.page()")
    person.wait_for(3)
    page.goto("http://shop.example/jeans?utm_source=google&utm_medium=cpc&utm_campaign=autumn&gclid=abc")
    page.evaluate("analytics.track('Product Viewed', {product_id: 'P-1'})")
    page.evaluate("analytics.track('Product Added', {product_id: 'P-1', price: 40})")
    person.wait_for(6)
    page.evaluate("history.pushState({}, '', '/jeans/red?utm_source=google&utm_medium=cpc&utm_campaign=autumn')")
    page.evaluate("analytics.page()")
    person.wait_for(7)
    page.goto("http://shop.example/checkout", referer="http://shop.example/jeans")
    page.evaluate("analytics.track('Checkout Started', {checkout_id: 'c-1', value: 40, currency: 'EUR'})")
    person.wait_for(9)
    page.click("#pay")
    page.click("#back")
    person.wait_for(10)
    anonymous_id = page.evaluate(
        "typeof analytics.getAnonymousId === 'function' ? analytics.getAnonymousId()"
        " : analytics.instance.user().anonymousId()"
    )
    order = {"order_id": "W-1", "revenue": 40, "currency": "EUR"}
    answer = service.post(
        "/v1/track",
        {
            "event": "Order Completed",
            "userId": "c-1",
            "anonymousId": anonymous_id,
            "messageId": "o-1",
            "properties": order,
        },
    )
    assert 200 == answer.status
    return str(anonymous_id)


@pytest.mark.parametrize(
    "template", [pytest.param(SEGMENT_PAGE, id="segment"), pytest.param(RUDDERSTACK_PAGE, id="rudderstack")]
)
def test_search_then_an_ad_then_paying_elsewhere_are_two_touches_in_every_model(
    running: tuple[Pipeline, RunningCollector], shop: Shop, person: Visitor, template: str
) -> None:
    pipeline, service = running
    build(shop, template, service.url)

    shopping(person, service)
    pipeline.drain()

    shares = {
        (model, channel): round(share, 2)
        for model, channel, share in pipeline.rows(
            "SELECT model, channel, sum(credit) AS share FROM v_attribution_default GROUP BY ALL HAVING share > 0"
        )
    }
    search, paid = "Organic Search", "Paid Search"
    halves = ("linear", "linear_distinct_channels", "position_based", "w_shaped")
    assert {(model, channel): 0.5 for model in halves for channel in (search, paid)} == {
        key: share for key, share in shares.items() if key[0] in halves
    }
    assert (1.0, 1.0, 1.0) == (
        shares["first_touch", search], shares["last_touch", paid], shares["last_non_direct", paid],
    )  # fmt: skip
    assert [(1, search, 10, 6, 0)] == pipeline.rows(
        "SELECT count(), any(marketing_channel), sum(events), sum(pages), sum(conversions) FROM v_sessions"
    )
    assert ([], {"shop.example", "www.saferpay.com", service.url.removeprefix("http://")}) == (
        person.errors,
        person.hosts,
    )
