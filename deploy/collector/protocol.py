"""Answers in the collector's form what aiohttp refuses before any route: lines that are no HTTP, an unknown `Expect`.

A client that reads JSON should find a code and a sentence there too.
"""

from __future__ import annotations

from aiohttp import web

from deploy.collector.refusal import http_refusal, refusal_answer

_LONGEST_MESSAGE = 200


class JsonRunner(web.AppRunner):
    """Runs an application whose every answer to a refused request is JSON."""

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        options = server._kwargs  # noqa: SLF001 - with those that the application has added
        return _Server(server.request_handler, request_factory=server.request_factory, **options)


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _JsonRequestHandler(self, loop=self._loop, **self._kwargs)


class _JsonRequestHandler(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer a request that cannot be parsed; the log is aiohttp's."""
        super().handle_error(request, status, exc, message)
        reason = (message or "").strip().partition("\n")[0].rstrip(":.")[:_LONGEST_MESSAGE]
        answer = refusal_answer(
            status, "bad_request" if status < 500 else "bug", f"This is no HTTP request: {reason or 'it is malformed'}."
        )
        answer.force_close()
        return answer

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; a refusal that no middleware has seen gets the form of the others first."""
        if isinstance(resp, web.HTTPException):
            resp = http_refusal(request, resp)
        return await super().finish_response(request, resp, start_time)
