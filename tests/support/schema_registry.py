"""A schema registry over HTTP, with the interface of Confluent's: what its clients register, others can read."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import UUID


class SchemaRegistry:
    """A registry.

    Attributes:
        url: Its address.
        auth: `user:password` that it asks for; empty: none.
        is_down: Whether it answers 503.
        requests: How often each path was read.
        subjects: The schemas of each subject, in the order of their versions.
    """

    def __init__(self) -> None:
        self.auth = ""
        self.is_down = False
        self.requests: Counter[str] = Counter()
        self.subjects: dict[str, list[int]] = {}
        self._schemas: list[dict[str, Any]] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.answer(self, None)

            def do_POST(self) -> None:
                registry.answer(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def register(self, subject: str, schema: dict[str, Any]) -> int:
        """Register a schema; return its id."""
        kept = {name: schema[name] for name in ("schema", "schemaType", "references") if schema.get(name)}
        if kept not in self._schemas:
            self._schemas.append(kept)
        id_ = self._schemas.index(kept) + 101
        versions = self.subjects.setdefault(subject, [])
        if id_ not in versions:
            versions.append(id_)
        return id_

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler, body: Any) -> None:
        """Answer a request."""
        status, found = self._found(request, body)
        raw = json.dumps(found).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        request.send_header("Content-Length", str(len(raw)))
        request.end_headers()
        request.wfile.write(raw)

    def _found(self, request: BaseHTTPRequestHandler, body: Any) -> tuple[int, Any]:
        address = urlsplit(request.path)
        path = [unquote(part) for part in address.path.split("/")[1:]]
        if body is None:
            self.requests[address.path] += 1
        if self.is_down:
            return 503, {"error_code": 50301, "message": "no leader"}
        authorization = "Basic " + base64.b64encode(self.auth.encode()).decode()
        if self.auth and request.headers.get("Authorization") != authorization:
            return 401, {"error_code": 401, "message": "Unauthorized"}
        serialized = parse_qs(address.query).get("format") == ["serialized"]
        match path:
            case ["schemas", "ids", number]:
                return self._schema(int(number), serialized)
            case ["schemas", "guids", guid]:
                return self._schema(UUID(guid).int, serialized)
            case ["subjects", subject, "versions"] if body is not None:
                id_ = self.register(subject, body)
                return 200, {"id": id_, "guid": str(UUID(int=id_))}
            case ["subjects", subject] if body is not None:
                id_ = self.register(subject, body)
                return 200, {
                    "id": id_,
                    "guid": str(UUID(int=id_)),
                    "subject": subject,
                    "version": self.subjects[subject].index(id_) + 1,
                    **body,
                }
            case ["subjects", subject, "versions", version]:
                versions = self.subjects.get(subject, [])
                if not version.isdigit() or int(version) > len(versions):
                    return 404, {"error_code": 40402, "message": "Version not found."}
                return self._schema(versions[int(version) - 1], serialized)
            case ["subjects"]:
                return 200, list(self.subjects)
        return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    def _schema(self, id_: int, serialized: bool) -> tuple[int, dict[str, Any]]:
        if not 101 <= id_ < 101 + len(self._schemas):
            return 404, {"error_code": 40403, "message": f"Schema {id_} not found"}
        schema = dict(self._schemas[id_ - 101])
        if schema.get("schemaType") == "PROTOBUF" and not serialized:
            schema["schema"] = 'syntax = "proto3"; // as text'
        return 200, schema


@contextmanager
def schema_registry() -> Iterator[SchemaRegistry]:
    """Run a registry."""
    registry = SchemaRegistry()
    try:
        yield registry
    finally:
        registry.close()
