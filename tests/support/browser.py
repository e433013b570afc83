"""A real Chromium, and the small shop whose pages it visits: any host of the web is this shop's server."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.support.stack import unavailable

if TYPE_CHECKING:
    from playwright.sync_api import Page

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)

USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
"""A person's browser: a headless one says so, and is a bot."""

_starting = threading.Lock()
"""Browsers start one after the other: two at once take longer than both in turn."""


class Shop:
    """Pages and scripts by host and path.

    Attributes:
        pages: The pages' HTML by `host/path`; what is not there is an empty page.
        scripts: Folders of scripts, by the first part of their path on any host.
    """

    def __init__(self, scripts: Mapping[str, Path]) -> None:
        self.pages: dict[str, str] = {}
        self.scripts = scripts
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = urlsplit(self.path).path
                folder, _, rest = path.removeprefix("/").partition("/")
                if folder in shop.scripts and (script := shop.scripts[folder] / rest).is_file():
                    self._answer(200, "text/javascript", script.read_bytes())
                else:
                    page = shop.pages.get(f"{self.headers['Host'].partition(':')[0]}{path}", "")
                    self._answer(200, "text/html; charset=utf-8", f"<!doctype html>{page}".encode())

            def _answer(self, status: int, kind: str, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


class Visitor:
    """A person's browser.

    Attributes:
        page: The tab.
        hosts: Every host that the browser has asked for anything.
        acknowledged: Ids of the messages whose requests were answered with 200.
        errors: What the pages' scripts have failed with.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.hosts: set[str] = set()
        self.acknowledged: set[str] = set()
        self.errors: list[str] = []
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        page.on("response", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note(self, response: Any) -> None:
        request = response.request
        if request.method != "POST" or response.status != 200:
            return
        try:
            body = json.loads(request.post_data or "null")
        except ValueError:
            return
        calls = body.get("batch", [body]) if isinstance(body, dict) else []
        self.acknowledged |= {str(call.get("messageId")) for call in calls if isinstance(call, dict)}

    def is_answered(self, count: int) -> bool:
        """Return whether so many messages are acknowledged."""
        return len(self.acknowledged) >= count

    def wait_until_quiet(self, count: int, quiet_s: float = 20.0) -> None:
        """Wait until so many messages are acknowledged, or none has been for some time: an SDK may have given up."""
        known, since = -1, 0.0
        while len(self.acknowledged) < count and since < quiet_s:
            since = 0.0 if len(self.acknowledged) > known else since + 0.5
            known = len(self.acknowledged)
            self.page.wait_for_timeout(500)

    def wait_for(self, count: int, timeout_s: float = 30.0) -> None:
        """Wait until so many messages are acknowledged."""
        for _ in range(int(timeout_s * 10)):
            if self.is_answered(count):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"{len(self.acknowledged)} of {count} messages are acknowledged; {self.errors}")


@contextmanager
def visitor(shop: Shop, profile: Path) -> Iterator[Visitor]:
    """Start a browser for which every host but loopback is the shop's server."""
    if not CHROMIUM:
        unavailable("there is no Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    options = [
        "--no-sandbox",
        "--disable-gpu",
        f"--host-resolver-rules=MAP *:80 127.0.0.1:{shop.port}, EXCLUDE 127.0.0.1",
    ]
    with sync_playwright() as playwright:
        with _starting:
            browser = playwright.chromium.launch_persistent_context(
                profile, executable_path=CHROMIUM, headless=True, args=options, user_agent=USER_AGENT
            )
        try:
            yield Visitor(browser.pages[0] if browser.pages else browser.new_page())
        finally:
            browser.close()
