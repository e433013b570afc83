"""A console that runs in this process, and a browser in front of it that notes what a page must not do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.message import Message
from http.cookiejar import CookieJar
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPCookieProcessor, Request, build_opener

from aiohttp import web
from pydantic import SecretStr

from deploy.console.server import build
from deploy.local.ports import free_port
from deploy.settings import Settings
from tests.support.browser import CHROMIUM
from tests.support.stack import unavailable

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TOKENS = {"local": "token-of-the-operator", "vera": "token-of-an-analyst", "mara": "token-of-a-marketer"}
"""Names that sign in; `vera` and `mara` are in no list of console.yaml but that of the test."""

# Text that is smaller or paler than WCAG 2 AA allows: ratio below 4.5, or 3 where it is large.
_PALE = """() => {
  const canvas = document.createElement('canvas').getContext('2d');
  const rgb = (text) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const part = (v) => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => .2126 * part(r) + .7152 * part(g) + .0722 * part(b);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const color = rgb(getComputedStyle(e).backgroundColor);
      if (color[3] > 250) return color;
    }
    return [255, 255, 255, 255];
  };
  const found = new Set();
  for (const e of document.querySelectorAll('main *, header *, nav *')) {
    const hasText = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (e.closest('svg') || !hasText || !e.checkVisibility()) continue;
    const s = getComputedStyle(e), a = light(rgb(s.color)), b = light(behind(e));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05), size = parseFloat(s.fontSize);
    const large = size >= 24 || (size >= 18.66 && s.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5))
      found.add(`${e.tagName}.${e.className} "${e.textContent.trim().slice(0, 30)}" ${ratio.toFixed(2)}`);
  }
  return [...found];
}"""


class Answer(NamedTuple):
    """What the console answers to a client without scripts."""

    status: int
    text: str
    headers: Message
    path: str


class Client:
    """Keeps cookies and follows redirects, as a browser does, but runs nothing.

    Args:
        url: Address of the console.
        user: Who signs in; empty: nobody.
    """

    def __init__(self, url: str, user: str = "") -> None:
        self._url = url
        self._opener = build_opener(HTTPCookieProcessor(CookieJar()))
        self.form_token = ""
        if user:
            page = self.get(f"/sign-in?token={TOKENS[user]}").text
            self.form_token = page.partition('name="form_token" value="')[2].partition('"')[0]

    def get(self, path: str) -> Answer:
        """Open a page."""
        return self._open(Request(self._url + path))

    def post(self, path: str, headers: Mapping[str, str] | None = None, **fields: str) -> Answer:
        """Send a form."""
        return self._open(Request(self._url + path, urlencode(fields).encode(), dict(headers or {}), method="POST"))

    def _open(self, request: Request) -> Answer:
        try:
            answer = self._opener.open(request, timeout=60)
        except HTTPError as error:
            answer = error
        with answer:
            path = answer.url.removeprefix(self._url)
            return Answer(answer.status, answer.read().decode(), answer.headers, path)


@contextmanager
def running_console(settings: Settings, **changes: Any) -> Iterator[str]:
    """Run a console in a thread; answer with its address."""
    port = free_port()
    tokens = ",".join(f"{name}={token}" for name, token in TOKENS.items())
    url = f"http://127.0.0.1:{port}"
    changed = settings.model_copy(update={"console_url": url, "console_tokens": SecretStr(tokens), **changes})
    started, stop = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        console, app = build(changed)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        started.set()
        await stop.wait()
        await runner.cleanup()
        await console.stores.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert started.wait(30)
    try:
        yield url
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser; without one there is no test."""
    if not CHROMIUM:
        unavailable("there is no Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


class Reader:
    """Somebody who has signed in.

    Attributes:
        page: The tab.
        faults: What a page must not do: errors of scripts and of the policy, requests to another host.
    """

    def __init__(self, browser: Browser, url: str, user: str, width: int = 1280, scheme: Any = "light") -> None:
        self._context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self._context.set_default_timeout(60_000)
        self.page: Page = self._context.new_page()
        self.url, self.faults = url, list[str]()
        self.page.on("console", lambda one: self.faults.append(one.text) if one.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda one: self._note_host(one.url))
        self.page.goto(f"{url}/sign-in?token={TOKENS[user]}")

    def open(self, path: str) -> int:
        """Open a page, wait until all of its parts are there, and answer with its status."""
        answer = self.page.goto(self.url + path)
        assert answer is not None
        for _ in range(200):
            if not self.page.locator("text=On its way …").count():
                break
            self.page.wait_for_timeout(200)
        return answer.status

    def problems(self) -> list[str]:
        """List what is wrong with the page: faults, pale text, and a page wider than the window."""
        wide = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        found = [
            *self.faults,
            *self.page.evaluate(_PALE),
            *([f"{wide} pixels wider than the window"] if wide > 0 else []),
        ]
        self.faults.clear()
        return found

    def close(self) -> None:
        """Close the tab and forget its cookies."""
        self._context.close()

    def _note_host(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and f"http://{parts.netloc}" != self.url:
            self.faults.append(f"a request to {parts.netloc}")
