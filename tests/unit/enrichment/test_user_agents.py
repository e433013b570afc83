"""User agents as they are seen: browsers, apps, in-app browsers, crawlers, previews, mail scanners, libraries."""

from __future__ import annotations

import pytest

from deploy.operations.definition_files import user_agents
from deploy.settings import Settings
from processors.enrichment.user_agents import MAX_CHARS, Client, UserAgents
from schemas.enrichment.bots import NO_USER_AGENT, BotDefinitions

SHIPPED = user_agents(Settings())

SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
CHROME = "AppleWebKit/537.36 (KHTML, like Gecko)"

PEOPLE = {
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) {SAFARI} Version/17.5 Mobile/15E148 Safari/604.1":
        ("mobile", "iOS", "Mobile Safari"),
    f"Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) {SAFARI} Version/16.6 Mobile/15E148 Safari/604.1":
        ("tablet", "iOS", "Mobile Safari"),
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {SAFARI} Version/18.0 Safari/605.1.15":
        ("desktop", "macOS", "Safari"),
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Chrome/130.0.0.0 Safari/537.36":
        ("desktop", "Windows", "Chrome"),
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Chrome/130.0.0.0 Safari/537.36 Edg/130.0.2849.46":
        ("desktop", "Windows", "Edge"),
    "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0":
        ("desktop", "Linux", "Firefox"),
    f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {CHROME} Chrome/120.0.0.0 Safari/537.36":
        ("desktop", "Chrome OS", "Chrome"),
    f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {CHROME} Chrome/129.0.0.0 Mobile Safari/537.36":
        ("mobile", "Android", "Chrome Mobile"),
    f"Mozilla/5.0 (Linux; Android 13; SM-X700) {CHROME} Chrome/129.0.0.0 Safari/537.36":
        ("tablet", "Android", "Chrome"),
    f"Mozilla/5.0 (SMART-TV; Linux; Tizen 6.0) {CHROME} 76.0.3809.146/6.0 TV Safari/537.36":
        ("tv", "Tizen", "Safari"),
    f"Mozilla/5.0 (PlayStation; PlayStation 5/6.50) {SAFARI} Version/15.4 Safari/605.1.15":
        ("console", "", "Safari"),
    # Browsers within apps
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) {SAFARI} Mobile/21F90 Instagram 334.0.4.32.98 "
    "(iPhone14,5; iOS 17_5_1; en_US; en; scale=3.00; 1170x2532; 607399236)":
        ("mobile", "iOS", "Instagram"),
    f"Mozilla/5.0 (Linux; Android 13; SM-G991B Build/TP1A.220624.014; wv) {CHROME} Version/4.0 Chrome/124.0.6367.113 "
    "Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/463.1.0.53.85;]":
        ("mobile", "Android", "Facebook"),
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) {SAFARI} Mobile/15E148 [Pinterest/iOS]":
        ("mobile", "iOS", "Pinterest"),
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) {SAFARI} Mobile/15E148 [LinkedInApp]/9.29":
        ("mobile", "iOS", "Mobile Safari UI/WKWebView"),
    # A telephone whose maker has "bot" in the name
    f"Mozilla/5.0 (Linux; Android 10; CUBOT X30) {CHROME} Chrome/129.0.0.0 Mobile Safari/537.36":
        ("mobile", "Android", "Chrome Mobile"),
    # Apps
    "Dalvik/2.1.0 (Linux; U; Android 12; M2007J20CG Build/SKQ1.211019.001)": ("", "Android", "Android"),
    "MyShop/3.2 CFNetwork/1494.0.7 Darwin/23.4.0": ("", "iOS", "MyShop"),
    "Dart/3.1 (dart:io)": ("", "", ""),
    # Images of mail, loaded because the receiver looked
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)":
        ("desktop", "Windows", "GmailImageProxy"),
    "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html": ("", "", "YahooMailProxy"),
    "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.17126; Pro)": ("desktop", "Windows", "Outlook"),
}  # fmt: skip

BOTS = {
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)": "crawler",
    f"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) {CHROME} Chrome/130.0.6723.69 Mobile Safari/537.36 "
    "(compatible; Googlebot/2.1; +http://www.google.com/bot.html)": "crawler",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)": "crawler",
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)": "crawler",
    f"Mozilla/5.0 {CHROME[:-1]}; compatible; GPTBot/1.2; +https://openai.com/gptbot)": "ai_crawler",
    f"Mozilla/5.0 {CHROME[:-1]}; compatible; ClaudeBot/1.0; +claudebot@anthropic.com)": "ai_crawler",
    "WhatsApp/2.23.20.0 A": "link_preview",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)": "link_preview",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)": "link_preview",
    "Mozilla/5.0 (compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)": "monitoring",
    "Mozilla/5.0 (compatible; Barracuda Sentinel (EE))": "mail_scanner",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Chrome/79.0.3945.117 Safari/537.36 Mimecast": "mail_scanner",
    "Mozilla/5.0 (compatible; Proofpoint URL Defense)": "mail_scanner",
    "Microsoft Office Existence Discovery": "mail_scanner",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} HeadlessChrome/130.0.0.0 Safari/537.36": "automation",
    "curl/8.5.0": "library",
    "python-requests/2.31.0": "library",
    "Go-http-client/1.1": "library",
    "okhttp/4.12.0": "library",
    "axios/1.6.0": "library",
    NO_USER_AGENT: "no_user_agent",
}

HOSTILE = [
    "",
    " ",
    "x" * 10_000,
    "a\x00b",
    "\ud83d",
    "😀" * 300,
    "(" * 3000,
    "Mozilla/5.0 (" + "A" * 9000,
    "\n\r\t",
    "%s%n{}",
]


@pytest.mark.parametrize(("user_agent", "expected"), PEOPLE.items())
def test_people_have_a_device_a_system_and_a_browser(user_agent: str, expected: tuple[str, str, str]) -> None:
    assert Client(*expected) == SHIPPED.read(user_agent)


@pytest.mark.parametrize(("user_agent", "reason"), BOTS.items())
def test_bots_have_a_reason(user_agent: str, reason: str) -> None:
    assert reason == SHIPPED.read(user_agent).bot


def test_a_crawler_that_calls_itself_a_telephone_has_no_device() -> None:
    crawler = next(one for one in BOTS if "Nexus 5X" in one)

    assert ("", "Googlebot") == (SHIPPED.read(crawler).device, SHIPPED.read(crawler).browser)


@pytest.mark.parametrize("user_agent", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_user_agents_are_people_of_whom_nothing_is_known(user_agent: str) -> None:
    assert None is SHIPPED.read(user_agent).bot


def test_only_the_beginning_of_a_long_user_agent_is_read() -> None:
    long = "x" * MAX_CHARS + " Googlebot/2.1"

    assert Client() == SHIPPED.read(long)


def test_the_operator_lists_exceptions_and_further_bots() -> None:
    own = UserAgents(BotDefinitions(people=("headlesschrome",), bots={"monitoring": ("Shop Watch",)}))

    assert [None, "monitoring", "crawler"] == [
        own.read(one).bot for one in ("HeadlessChrome/130", "shop watch 3", "Googlebot/2.1")
    ]


def test_an_exception_goes_before_a_further_bot() -> None:
    own = UserAgents(BotDefinitions(people=("Shop Watch",), bots={"monitoring": ("Shop Watch",)}))

    assert None is own.read("Shop Watch 3").bot
