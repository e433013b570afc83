"""Advertising networks and a partner's system on this machine, which answer as they document, or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson


class Networks:
    """What arrived, by network.

    Attributes:
        url: Of all of them.
        meta, tiktok, partner: The bodies of events, in the order of their arrival.
        ids: Of the partner's webhooks, the `webhook-id` of each.
        asked: How many requests TikTok has got, answered or not.
        open: TikTok answers once it is set.
    """

    def __init__(self) -> None:
        self.url = ""
        self.meta: list[dict[str, Any]] = []
        self.tiktok: list[dict[str, Any]] = []
        self.partner: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.asked = 0
        self.open = threading.Event()

    def take(self, path: str, body: dict[str, Any], webhook_id: str) -> dict[str, Any]:
        """Take a request and return the answer."""
        if path.endswith("/events"):
            self.meta += body["data"]
            return {"events_received": len(body["data"]), "messages": [], "fbtrace_id": "A1"}
        if path.startswith("/open_api/"):
            self.asked += 1
            self.open.wait(60)
            self.tiktok += body["data"]
            return {"code": 0, "message": "OK", "request_id": "1", "data": {}}
        self.partner.append(body["data"])
        self.ids.append(webhook_id)
        return {}


@contextmanager
def networks() -> Iterator[Networks]:
    """Run them."""
    found = Networks()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            answer = orjson.dumps(found.take(self.path, orjson.loads(raw), self.headers.get("webhook-id", "")))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            with suppress(ConnectionError):  # who asked has given up
                self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.open.set()
        server.shutdown()
        thread.join()
        server.server_close()
