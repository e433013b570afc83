"""Where a visitor came from, by the rules that ship: own hosts, payment pages, kinds of sites, click ids."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.operations.definition_files import load
from deploy.settings import DEFINITIONS
from processors.recording.sites import known_sites
from processors.recording.touch_rules import RETURN, Touch, TouchRules
from schemas.recording.touches import TouchDefinitions
from tests.support.known_sites import patterns

SHOP = "https://www.shop.example/jeans"


def shipped(**change: Any) -> TouchRules:
    definitions = load(DEFINITIONS / "touches.yaml", TouchDefinitions)
    return TouchRules(definitions.model_copy(update=change))


@pytest.fixture(scope="module")
def rules() -> TouchRules:
    return shipped()


def brought(channel: str, conflict: str = "", click_id: str = "") -> Touch:
    return Touch("campaign", channel, conflict, click_id)


def visit(referrer: str = "", url: str = SHOP, **campaign: str) -> dict[str, Any]:
    """The first event of a visit."""
    page = {name: value for name, value in (("url", url), ("referrer", referrer)) if value}
    event = {"event_id": "e", "event": "Page Viewed", "channel": "web", "context": {"session_id": "s1", "page": page}}
    return {**event, "campaign": campaign} if campaign else event


def landing(query: str, referrer: str = "", **campaign: str) -> dict[str, Any]:
    return visit(referrer, f"https://shop.example/?{query}", **campaign)


DIRECT, REFERRAL = Touch("session", "Direct"), Touch("referral", "Referral")
SOCIAL = Touch("session", "Organic Social")


@pytest.mark.parametrize(
    ("page", "referrer", "touch"),
    [
        pytest.param("https://checkout.shop.example/", "https://account.shop.example/login", DIRECT, id="siblings"),
        pytest.param("https://de.shop.example/", "https://fr.shop.example/", DIRECT, id="countries of one shop"),
        pytest.param("https://shop.co.uk/", "https://blog.co.uk/", REFERRAL, id="two sites under co.uk"),
        pytest.param("https://www.shop.co.uk/", "https://blog.shop.co.uk/", DIRECT, id="one site under co.uk"),
        pytest.param("https://ada.github.io/", "https://bob.github.io/", REFERRAL, id="two people's pages"),
        pytest.param("https://ada.github.io/", "https://www.ada.github.io/", DIRECT, id="one person's pages"),
        pytest.param("https://a.myshopify.com/", "https://b.myshopify.com/", REFERRAL, id="two shops of one platform"),
        pytest.param("https://shop.example/", "https://SHOP.example.:443/", DIRECT, id="port, dot, capital letters"),
        pytest.param("https://shop.example/", "shop.example", DIRECT, id="a bare host"),
        pytest.param(
            "https://shop.example/", "https://shop.example.evil.org/", REFERRAL, id="a name that begins alike"
        ),
        pytest.param("https://shop.example/", "https://myshop.example/", REFERRAL, id="a name that ends alike"),
        pytest.param("https://xn--mbel-5qa.example/", "https://www.möbel.example/", DIRECT, id="two spellings of IDN"),
        pytest.param("http://10.0.0.1/", "http://10.1.0.1/", REFERRAL, id="two addresses have no common domain"),
        pytest.param("http://localhost:3000/", "http://localhost:8080/", DIRECT, id="a developer's machine"),
        pytest.param("", "https://www.shop.example/", REFERRAL, id="no page address and no list"),
        pytest.param("https://shop.example/", "https://user:pw@shop.example/x", DIRECT, id="a user in the address"),
    ],
)
def test_a_referrer_of_ones_own_registrable_domain_is_no_referral(
    rules: TouchRules, page: str, referrer: str, touch: Touch
) -> None:
    assert touch == rules.classify(visit(referrer, page))


@pytest.mark.parametrize(
    ("referrer", "touch"),
    [
        pytest.param("https://www.shop.example/", DIRECT, id="listed"),
        pytest.param("https://de.shop.example/", DIRECT, id="below a listed one"),
        pytest.param("https://shop.de/", DIRECT, id="under every suffix"),
        pytest.param("https://shop.de.example.org/", REFERRAL, id="a label in another site's name"),
        pytest.param("https://workshop.example/", REFERRAL, id="ends alike"),
    ],
)
def test_the_retailers_list_knows_its_hosts_without_a_page_address(referrer: str, touch: Touch) -> None:
    assert touch == shipped(own_hosts=("shop.example", "shop.*")).classify(visit(referrer, ""))


@pytest.mark.parametrize(
    "referrer",
    [
        "https://shop.app/pay/abc",
        "https://shop.app/",
        "https://checkout.shopify.com/1/checkouts/2",
        "https://pay.amazon.com/",
        "https://pay.amazon.co.uk/",
        "https://www.amazon.de/ap/signin",
        "https://www.amazon.de/ap/signin?openid.return_to=x",
        "https://appleid.apple.com/",
        "https://accounts.google.com/",
        "https://accounts.google.de/o/oauth2",
        "https://www.paypal.com/",
        "paypal.com",
        "https://js.klarna.com/",
        "https://hooks.stripe.com/",
        "https://checkoutshopper-live.adyen.com/",
        "https://login.microsoftonline.com/",
        "https://www.facebook.com/dialog/oauth",
        "https://secure5.arcot.com/acs",
        "https://acs2.bank.example/challenge",
        "https://3ds-challenge.bank.example/",
        "https://3ds.shop.example/",
        "https://connect.squareup.com/v2/checkout?c=1",
        "https://squareup.com/checkout/x",
        "https://secure.squarespace.com/checkout",
        "https://www.girogate.de/ti/simplus",
        "https://hosted.paysafe.com/",
        "https://customer.paysafecard.com/",
        "https://services.paytrail.com/",
        "https://secure.przelewy24.pl/trnRequest/x",
        "https://secure.payu.com/pay/",
        "https://ideal.ing.nl/",
        "https://pay.ideal.nl/",
        "https://www.mollie.com/checkout/",
        "https://portal.afterpay.com/",
        "https://www.affirm.com/checkout",
        "https://checkout.tabby.ai/",
        "https://komoju.com/sessions/x",
        "https://secure-acs2ui-b1.wibmo.com/v1/acs",
        "https://www.facebook.com/v19.0/dialog/oauth?client_id=1",
        "https://m.facebook.com/v2.8/dialog/oauth/confirm",
        "https://www.facebook.com/privacy/consent/gdp/",
        "https://www.instagram.com/accounts/login/",
        "https://x.com/i/flow/login",
        "https://www.linkedin.com/uas/login",
        "https://discord.com/oauth2/authorize",
        "https://www.tiktok.com/v2/auth/authorize/",
        "https://shop.auth.eu-central-1.amazoncognito.com/login",
        "https://shop.ciamlogin.com/",
        "https://shopify.com/authentication/1/login",
        "https://sso.partner.example/realms/shop/protocol/openid-connect/auth",
        "https://id.partner.example/oauth2/v1/authorize",
        "https://idp.partner.example/saml2/sso",
        "https://shop-1.firebaseapp.com/__/auth/handler",
    ],
)
def test_coming_back_from_paying_or_signing_in_is_no_touch(rules: TouchRules, referrer: str) -> None:
    assert RETURN == rules.classify(visit(referrer))
    assert RETURN == rules.classify(landing("gclid=carried-along", referrer)), "the visit before had the click id"


@pytest.mark.parametrize(
    ("referrer", "touch"),
    [
        pytest.param("https://www.amazon.de/", Touch("session", "Organic Shopping"), id="Amazon itself"),
        pytest.param(
            "https://www.amazon.de/apparel", Touch("session", "Organic Shopping"), id="a path that begins alike"
        ),
        pytest.param("https://www.facebook.com/", Touch("session", "Organic Social"), id="Facebook itself"),
        pytest.param("https://www.google.com/", Touch("session", "Organic Search"), id="Google itself"),
        pytest.param("https://acs.org/", REFERRAL, id="the society of chemists"),
        pytest.param("https://pubs.acs.org/", REFERRAL, id="and its journals"),
        pytest.param("https://notpaypal.com/", REFERRAL, id="ends alike"),
        pytest.param("https://paypal.com.blog.example/", REFERRAL, id="begins alike"),
        pytest.param("https://maps3d.bank.example/", REFERRAL, id="not 3-D Secure"),
        pytest.param("https://squareup.com/us/en", REFERRAL, id="a payment provider's own site"),
        pytest.param("https://www.squarespace.com/blog", REFERRAL, id="a builder of shops"),
        pytest.param("https://www.rabobank.nl/magazine", REFERRAL, id="a bank's magazine"),
        pytest.param("https://paysafe.com.blog.example/", REFERRAL, id="begins like a payment provider"),
        pytest.param("https://ideal.es/", REFERRAL, id="a newspaper, not iDEAL"),
        pytest.param("https://www.facebook.com/v19.0/", SOCIAL, id="a version and no dialogue"),
        pytest.param("https://www.facebook.com/dialogue/", SOCIAL, id="a page that begins like a dialogue"),
        pytest.param("https://x.com/i/oauth", SOCIAL, id="a path of X that signs nobody in"),
        pytest.param("https://www.linkedin.com/loginhelp", SOCIAL, id="a path that begins like a sign-in"),
        pytest.param("https://blog.example.org/oauth/", REFERRAL, id="an article about OAuth"),
        pytest.param("https://blog.example.org/oauth2/authorize-explained", REFERRAL, id="and a longer one"),
        pytest.param("https://blog.example.org/?next=/oauth2/authorize", REFERRAL, id="a path in the query"),
        pytest.param("https://login.benefits.example/", REFERRAL, id="a portal of offers behind a sign-in"),
    ],
)
def test_a_site_that_resembles_a_payment_page_brings_visitors(rules: TouchRules, referrer: str, touch: Touch) -> None:
    assert touch == rules.classify(visit(referrer))


def test_what_the_tag_says_counts_also_on_the_way_back_from_paying(rules: TouchRules) -> None:
    tagged = visit("https://www.paypal.com/", source="paypal", medium="affiliate")

    assert brought("Affiliates") == rules.classify(tagged)


@pytest.mark.parametrize(
    ("referrer", "channel"),
    [
        pytest.param("https://www.google.com/", "Organic Search", id="Google"),
        pytest.param("https://www.google.com.tr/search?q=jeans", "Organic Search", id="in a country"),
        pytest.param("android-app://com.google.android.googlequicksearchbox/", "Organic Search", id="its app"),
        pytest.param("https://news.google.example.com/", "Referral", id="a label in another's name"),
        pytest.param("https://google.github.io/", "Referral", id="somebody's page"),
        pytest.param("https://docs.google.com/", "Referral", id="a document"),
        pytest.param("https://www.google.com/maps/place/x", "Referral", id="a map"),
        pytest.param("https://maps.google.co.uk/", "Referral", id="a map, as a host"),
        pytest.param("https://mail.google.com/", "Email", id="web mail"),
        pytest.param("https://mail.yahoo.co.jp/", "Email", id="web mail in a country"),
        pytest.param("https://deref-gmx.net/mail", "Email", id="web mail behind a redirect"),
        pytest.param("https://de.search.yahoo.com/", "Organic Search", id="a country's search"),
        pytest.param("https://finance.yahoo.com/", "Referral", id="news of the same portal"),
        pytest.param("https://search.brave.com/", "Organic Search", id="Brave"),
        pytest.param("https://gemini.google.com/", "AI Assistant", id="Gemini"),
        pytest.param("https://gemini.com/", "Referral", id="an exchange of the same name"),
        pytest.param("https://copilot.microsoft.com/", "AI Assistant", id="Copilot"),
        pytest.param("https://copilot.cloud.microsoft/", "AI Assistant", id="Copilot at work"),
        pytest.param("https://www.cloud.microsoft/", "Referral", id="its neighbour"),
        pytest.param("https://l.wl.co/l?u=x", "WhatsApp", id="a link in WhatsApp"),
        pytest.param("https://blog.wl.co/", "Referral", id="another site of its domain"),
        pytest.param("https://www.perplexity.ai/", "AI Assistant", id="Perplexity"),
        pytest.param("https://chatgpt.com/", "AI Assistant", id="ChatGPT"),
        pytest.param("https://claude.ai/chat/1", "AI Assistant", id="Claude"),
        pytest.param("https://claude.example.org/", "Referral", id="somebody named Claude"),
        pytest.param("https://x.com/i/grok?x=1", "AI Assistant", id="an assistant by its path"),
        pytest.param("https://x.com/i/grokking", "Organic Social", id="a path that begins alike"),
        pytest.param("https://l.instagram.com/", "Organic Social", id="Instagram"),
        pytest.param("https://at.pinterest.com/", "Organic Social", id="Pinterest"),
        pytest.param("https://mastodon.online/", "Organic Social", id="Mastodon"),
        pytest.param("https://facebook.fans.example/", "Referral", id="a page about Facebook"),
        pytest.param("https://m.youtube.com/watch?v=1", "Organic Video", id="YouTube"),
        pytest.param("https://web.whatsapp.com/", "WhatsApp", id="WhatsApp"),
        pytest.param("https://www.idealo.de/", "Organic Shopping", id="comparison of prices"),
        pytest.param("https://ask.fm/", "Referral", id="Ask, but another one"),
        pytest.param("https://syndicatedsearch.goog/", "Paid Search", id="paid syndication"),
        pytest.param("https://www.google.com/aclk?sa=l", "Paid Search", id="an ad's redirect"),
        pytest.param("https://www.bing.com/aclick?ld=x", "Paid Search", id="another's"),
        pytest.param("https://googleads.g.doubleclick.net/", "Display", id="ad server"),
        pytest.param("https://tpc.googlesyndication.com/", "Display", id="ad frame"),
        pytest.param("https://trc.taboola.com/", "Display", id="native ads"),
        pytest.param("https://doubleclick.net.blog.example/", "Referral", id="a blog about ad servers"),
        pytest.param("$direct", "Direct", id="a product's word for none"),
        pytest.param("about:blank", "Direct", id="no page"),
    ],
)
def test_referrers_are_told_apart_by_host_and_path(rules: TouchRules, referrer: str, channel: str) -> None:
    found = rules.classify(visit(referrer))

    assert (True, channel) == (found.kind in ("session", "referral"), found.marketing_channel)


@pytest.mark.parametrize(
    ("source", "channel"),
    [
        pytest.param("chatgpt.com", "AI Assistant", id="host"),
        pytest.param("www.facebook.com", "Organic Social", id="host with www"),
        pytest.param("https://www.facebook.com/", "Organic Social", id="whole address"),
        pytest.param("google.de", "Organic Search", id="in a country"),
        pytest.param("google.fans.example", "Unassigned", id="a label in another's name"),
        pytest.param("shop.app", "Organic Shopping", id="a market place that is a payment page as referrer"),
    ],
)
def test_a_tag_may_name_its_source_by_host(rules: TouchRules, source: str, channel: str) -> None:
    assert brought(channel) == rules.classify(visit(source=source))


@pytest.mark.parametrize(
    ("given", "touch"),
    [
        pytest.param(
            landing("utm_source=linkedin&gclid=OLD1", "https://www.linkedin.com/", source="linkedin"),
            brought("Organic Social", "google"),
            id="left over in a shared link",
        ),
        pytest.param(
            landing("gclid=OLD1", source="facebook", medium="cpc"),
            brought("Paid Social", "google"),
            id="left over in an advertisement",
        ),
        pytest.param(
            landing("gclid=OLD1", "https://www.linkedin.com/"),
            Touch("session", "Organic Social", "google"),
            id="left over in a shared link without a tag",
        ),
        pytest.param(
            landing("gclid=OLD1", "https://chatgpt.com/"),
            Touch("session", "AI Assistant", "google"),
            id="left over in what an assistant read",
        ),
        pytest.param(
            landing("fbclid=OLD1", "https://www.google.com/"),
            Touch("session", "Organic Search", "facebook"),
            id="left over in a search result",
        ),
        pytest.param(
            landing("gad_source=1&gad_campaignid=123", "https://www.google.com/"),
            brought("Paid Search"),
            id="Google without consent",
        ),
        pytest.param(landing("gad_source=1"), brought("Paid Search"), id="Google without a referrer"),
        pytest.param(landing("x=1&gbraid=0AA"), brought("Paid Search"), id="Google on an iPhone"),
        pytest.param(
            landing("gclid=X", "https://www.google.com/", source="google", medium="organic", name="maps"),
            brought("Organic Search", "google"),
            id="a tag that contradicts the click id of its network",
        ),
        pytest.param(landing("gclid=X", source="google", medium="cpc"), brought("Paid Search"), id="agreement"),
        pytest.param(landing("gclid=X", source="google_pmax"), brought("Paid Other"), id="a longer word"),
        pytest.param(landing("gclid=X", source="Adwords"), brought("Paid Search"), id="an older word"),
        pytest.param(landing("gclid=X", source="youtube"), brought("Paid Video"), id="a site of the network"),
        pytest.param(landing("fbclid=X", source="ig", medium="cpc"), brought("Paid Social"), id="Meta's other"),
        pytest.param(
            landing("gclid=X", source="googlefans"), brought("Unassigned", "google"), id="a longer name"
        ),
        pytest.param(landing("gclid=X", name="autumn"), brought("Paid Search"), id="a tag without a source"),
        pytest.param(landing("gclid=X", medium="email"), brought("Email", "google"), id="a tag with a medium"),
        pytest.param(landing("srsltid=X", "https://www.google.com/"), brought("Organic Search"), id="free"),
        pytest.param(landing("srsltid=X&gclid=Y"), brought("Paid Search"), id="paid listing"),
        pytest.param(landing("fbclid=X", "https://l.facebook.com/"), brought("Organic Social"), id="Facebook"),
        pytest.param(landing("fbclid=X"), brought("Organic Social"), id="Facebook without a referrer"),
        pytest.param(
            landing("gclid=OLD1&fbclid=X"), brought("Organic Social", "google"), id="the last is the latest click"
        ),
        pytest.param(
            landing("gclid=X&fbclid=OLD1", "https://www.google.com/"),
            brought("Paid Search", "facebook"),
            id="the referrer vouches for one of two",
        ),
        pytest.param(landing("gclid=X", "https://www.ask.com/"), brought("Paid Search"), id="a search partner"),
        pytest.param(landing("gclid=X", "https://paper.example/"), brought("Paid Search"), id="a site with ads"),
        pytest.param(landing("msclkid=X", "https://duckduckgo.com/"), brought("Paid Search"), id="Microsoft's"),
        pytest.param(landing("irclickid=X"), brought("Affiliates"), id="an affiliate network"),
        pytest.param(landing("awc=1_2_3", source="awin"), brought("Affiliates"), id="another"),
        pytest.param(landing("sccid=X"), brought("Paid Social"), id="an address in small letters"),
        pytest.param(landing("a=b&amp;gclid=X"), brought("Paid Search"), id="an address escaped once too often"),
        pytest.param(landing("a=b&#038;gclid=X"), brought("Paid Search"), id="and otherwise"),
        pytest.param(landing("gclid=&a=b"), DIRECT, id="no value"),
        pytest.param(landing("xgclid=1&next=gclid"), DIRECT, id="part of a name, a value"),
        pytest.param(visit(gclid="X"), brought("Paid Search"), id="as a field of the campaign"),
        pytest.param(visit(gclid="X", source="newsletter"), brought("Email", "google"), id="of another's"),
        pytest.param(visit(click_id="X"), brought("Unassigned"), id="a click id of an unknown network"),
        pytest.param(landing("tblci=GiB"), brought("Display"), id="Taboola"),
        pytest.param(landing("tblci=GiB", "https://www.taboola.com/"), brought("Display"), id="and its referrer"),
        pytest.param(landing("dicbo=v2-1"), brought("Display"), id="Outbrain"),
        pytest.param(landing("vmcid=X", "https://www.yahoo.com/"), brought("Display"), id="Yahoo's native ads"),
        pytest.param(landing("qclid=X"), brought("Paid Social"), id="Quora"),
        pytest.param(landing("ndclid=X", source="nextdoor"), brought("Paid Social"), id="Nextdoor"),
        pytest.param(landing("qclid=OLD", source="linkedin"), brought("Organic Social", "quora"), id="shared since"),
        pytest.param(landing("igsh=X"), brought("Organic Social"), id="the button to share of Instagram"),
        pytest.param(landing("ysclid=X", "https://ya.ru/"), brought("Organic Search"), id="free at Yandex"),
        pytest.param(landing("dicbox=1&my_kx=2&xmc_cid=3"), DIRECT, id="names that resemble"),
        pytest.param(landing("mc_cid=1&mc_eid=2"), brought("Email"), id="Mailchimp"),
        pytest.param(landing("_kx=X.Y"), brought("Email"), id="Klaviyo"),
        pytest.param(landing("_hsenc=p2&_hsmi=3", "https://mail.google.com/"), brought("Email"), id="HubSpot"),
        pytest.param(landing("mkt_tok=X", name="autumn"), brought("Email"), id="Marketo, of a tag without a source"),
        pytest.param(
            landing("mc_cid=1", source="newsletter", medium="email"), brought("Email"), id="a mailing tool and a tag"
        ),
        pytest.param(landing("mc_cid=1", source="spring-sale"), brought("Email"), id="a name of the sender's own"),
        pytest.param(landing("_kx=X", source="klaviyo", medium="sms"), brought("SMS"), id="a text message's link"),
        pytest.param(landing("_kx=X", source="crm", medium="cpc"), brought("Paid Other"), id="a medium by hand"),
        pytest.param(
            landing("mc_cid=OLD", source="facebook"), brought("Organic Social", "mailchimp"), id="a mail's link, shared"
        ),
        pytest.param(
            landing("mc_cid=OLD", "https://www.facebook.com/"),
            Touch("session", "Organic Social", "mailchimp"),
            id="a mail's link, shared without a tag",
        ),
        pytest.param(
            landing("gclid=OLD&mc_cid=1", source="spring-sale"), brought("Email", "google"), id="an old ad's id too"
        ),
        pytest.param(landing("irclickid=X", source="coupons"), brought("Affiliates"), id="a publisher of a network"),
        pytest.param(
            landing("irclickid=X", source="tiktok"), brought("Organic Social", "impact"), id="no publisher, a network"
        ),
    ],
)  # fmt: skip
def test_a_click_id_vouches_for_its_own_network_only(rules: TouchRules, given: dict[str, Any], touch: Touch) -> None:
    assert touch == rules.classify(given)._replace(click_id="")
    assert touch == rules.classify(given)._replace(click_id=""), "the remembered answer is another one"


@pytest.mark.parametrize("site", ["https://shop.example", "a b", "sh*p.example", "shop.example:443", "x.com/*"])
def test_what_is_no_site_is_refused(site: str) -> None:
    content = load(DEFINITIONS / "touches.yaml", TouchDefinitions).model_dump(exclude_none=True)

    with pytest.raises(ValueError, match="is no site: a host such as"):
        TouchDefinitions.model_validate({**content, "own_hosts": [site]})


def test_a_site_is_of_one_kind() -> None:
    content = load(DEFINITIONS / "touches.yaml", TouchDefinitions).model_dump(exclude_none=True)

    with pytest.raises(ValueError, match=r"T\.co is of two kinds of sites, search and social"):
        TouchDefinitions.model_validate({**content, "sites": {"search": ["t.co"], "social": ["x.com", "T.co"]}})


@pytest.mark.parametrize(
    "address",
    ["http://" + "a." * 50_000, "a." * 50_000 + "!", "https://" + "a-" * 50_000 + "_", "http://" + "@" * 100_000],
)
@pytest.mark.timeout(5)  # the square of so many labels takes minutes
def test_a_very_long_host_is_none_and_costs_no_time(rules: TouchRules, address: str) -> None:
    assert DIRECT == rules.classify(visit(address, address))
    assert DIRECT == rules.classify({**visit(), "properties": {"network": address}})


def test_the_list_of_sites_that_ships_names_its_source_and_contradicts_itself_nowhere() -> None:
    sites = known_sites()

    assert {"search", "social", "assistant"} == sites.keys()
    hosts = [host for patterns in sites.values() for host in patterns]
    assert len(hosts) == len(set(hosts)) > 700
    assert {"google.*", "x.com", "x.com/i/grok", "claude.ai"} <= set(hosts)
    assert not [host for host in hosts if host != host.lower() or host.startswith("www.") or "{" in host]


def test_hosts_of_a_list_are_patterns_each_once() -> None:
    hosts = ["www.bing.com", "{}.bing.com", "bing.com", "lycos.{}", "lycos.com", "search.lycos.com", "a.b/c"]

    assert ["*.bing.com", "lycos.*", "search.lycos.com"] == patterns(hosts)
