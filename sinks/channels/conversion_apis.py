"""Conversions to Meta, TikTok and Microsoft: events in batches, each named, so that a repeat counts once.

Sources: Meta, *Conversions API: using the API* and *Graph API: handling errors*; TikTok, *Events API 2.0* and *Return
codes*; Microsoft, *UET Conversions API integration*. Meta and TikTok refuse a whole request for one bad event: it is
halved until the bad one is alone.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from schemas.delivery.outbound import SendResult
from schemas.export.destinations import Meta, Microsoft, TikTok
from schemas.export.exports import ExportAnswer, ExportItem
from sinks.channels.http_calls import Answer, ProviderApi

DETAIL_CHARACTERS = 500
ANSWER_BYTES = 4_000_000
"""An answer may name an error of each event of a batch: none of them is to be cut off."""
_LATER = frozenset({408, 425, 429})
_META_LATER = frozenset({1, 2, 4, 17, 32, 341, 368, 613})
_META_TOKEN = frozenset({10, 102, 190})
_META_NO_SUCH = 33  # a subcode: there is no such data set, or the token may not see it
_TIKTOK_TOKEN = frozenset({40001, 40102, 40104, 40105})
_TIKTOK_LATER = frozenset({40016, 40100, 42900})
_SECRETS = re.compile(r"EA[A-Za-z0-9]{30,}")

Send = Callable[[list[ExportItem], int], Awaitable[list[ExportAnswer]]]


class MetaConversions:
    """Sends events to a data set of Meta.

    Args:
        rules: The data set.
        token: The access token.
    """

    most = 500

    def __init__(self, rules: Meta, token: str) -> None:
        self._rules, self._token, self._api = rules, token, batch_api(rules.api)

    async def send(self, items: list[ExportItem], now_ms: int) -> list[ExportAnswer]:
        """Send events; answers in their order."""
        # Not in the address: addresses end up in logs.
        body: dict[str, Any] = {"data": [one.body for one in items], "access_token": self._token}
        if self._rules.test_event_code:
            body["test_event_code"] = self._rules.test_event_code
        answer = await _post(self._api, f"/{self._rules.version}/{self._rules.pixel_id}/events", body, {}, now_ms)
        return await halved(items, now_ms, _meta_answer(answer), self.send)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()


class TikTokConversions:
    """Sends events to a pixel of TikTok; the arguments as of `MetaConversions`."""

    most = 500

    def __init__(self, rules: TikTok, token: str) -> None:
        self._rules, self._token, self._api = rules, token, batch_api(rules.api)

    async def send(self, items: list[ExportItem], now_ms: int) -> list[ExportAnswer]:
        """Send events; answers in their order."""
        body: dict[str, Any] = {
            "event_source": "web",
            "event_source_id": self._rules.pixel_code,
            "data": [one.body for one in items],
        }
        if self._rules.test_event_code:
            body["test_event_code"] = self._rules.test_event_code
        headers = {"Access-Token": self._token}
        answer = await _post(self._api, "/open_api/v1.3/event/track/", body, headers, now_ms)
        return await halved(items, now_ms, _tiktok_answer(answer), self.send)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()


class MicrosoftConversions:
    """Sends events to a UET tag of Microsoft; the arguments as of `MetaConversions`."""

    most = 500

    def __init__(self, rules: Microsoft, token: str) -> None:
        self._rules, self._token, self._api = rules, token, batch_api(rules.api)

    async def send(self, items: list[ExportItem], now_ms: int) -> list[ExportAnswer]:
        """Send events; answers in their order."""
        body = {
            "data": [one.body for one in items],
            "dataProvider": "throughline",
            "continueOnValidationError": True,
        }
        headers = {"Authorization": f"Bearer {self._token}"}
        answer = await _post(self._api, f"/v1/{self._rules.tag_id}/events", body, headers, now_ms)
        if isinstance(answer, Answer) and (bad := _microsoft_errors(answer, len(items))):
            # It has taken the others, unless it says that it has taken none.
            if answer.status < 300:
                return [_of_one(bad, place) for place in range(len(items))]
            if len(bad) < len(items):
                good = [one for place, one in enumerate(items) if place not in bad]
                answers = iter(await self.send(good, now_ms))
                return [_of_one(bad, place) if place in bad else next(answers) for place in range(len(items))]
        return await halved(items, now_ms, http_answer(answer), self.send)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()


def batch_api(url: str) -> ProviderApi:
    """Return the API of a network that answers for all events of a batch."""
    return ProviderApi(url, answer_bytes=ANSWER_BYTES)


async def halved(items: list[ExportItem], now_ms: int, answer: ExportAnswer, send: Send) -> list[ExportAnswer]:
    """Return an answer for each export; a request that was refused for one of several is sent again in halves."""
    if answer.outcome != "refused" or len(items) == 1:
        return [answer] * len(items)
    middle = (len(items) + 1) // 2
    first = await send(items[:middle], now_ms)
    if any(one.outcome in ("later", "unauthorised") for one in first):
        return first + [ExportAnswer("later", "not sent yet")] * (len(items) - middle)
    return first + await send(items[middle:], now_ms)


def http_answer(answer: Answer | SendResult) -> ExportAnswer:
    """Return what the status of HTTP says; a request whose answer never came is sent again, under the same names."""
    if isinstance(answer, SendResult):
        return ExportAnswer("later", answer.detail, answer.retry_after_ms)
    if 200 <= answer.status < 300:
        if not answer.body and answer.text.strip() not in ("", "{}"):
            return ExportAnswer("later", _detail(answer))  # a page of a proxy, or an answer that broke off
        return ExportAnswer("sent", f"HTTP {answer.status}")
    if answer.status in (401, 403):
        return ExportAnswer("unauthorised", _detail(answer))
    if answer.status in _LATER or answer.status >= 500:
        return ExportAnswer("later", _detail(answer), answer.retry_after_ms)
    if answer.status in (404, 405) or 300 <= answer.status < 400:
        return ExportAnswer("unauthorised", _detail(answer))  # the address: no event is to blame
    return ExportAnswer("refused", _detail(answer))


def _meta_answer(answer: Answer | SendResult) -> ExportAnswer:
    error = answer.body.get("error") if isinstance(answer, Answer) else None
    if isinstance(answer, SendResult) or not isinstance(error, dict):
        found = http_answer(answer)
        trace = answer.body.get("fbtrace_id") if isinstance(answer, Answer) else None
        return found._replace(detail=f"{found.detail} {trace}") if found.outcome == "sent" and trace else found
    code = error.get("code")
    said = " ".join(str(error[name]) for name in ("message", "error_user_msg") if error.get(name))
    detail = _SECRETS.sub("…", f"{code}: {said}")[:DETAIL_CHARACTERS]
    if code in _META_TOKEN or error.get("error_subcode") == _META_NO_SUCH or code in range(200, 300):
        return ExportAnswer("unauthorised", detail)
    if error.get("is_transient") or code in _META_LATER or code in range(80_000, 80_015) or answer.status >= 500:
        return ExportAnswer("later", detail, answer.retry_after_ms)
    return ExportAnswer("refused", detail)


def _tiktok_answer(answer: Answer | SendResult) -> ExportAnswer:
    code = answer.body.get("code") if isinstance(answer, Answer) else None
    if isinstance(answer, SendResult) or not isinstance(code, int):
        return http_answer(answer)
    detail = f"{code}: {answer.body.get('message', '')} {answer.body.get('request_id', '')}".strip()[:DETAIL_CHARACTERS]
    if code == 0:
        return ExportAnswer("sent", detail)
    if code in _TIKTOK_TOKEN:
        return ExportAnswer("unauthorised", detail)
    if code in _TIKTOK_LATER or code >= 50_000:
        return ExportAnswer("later", detail, answer.retry_after_ms)
    return ExportAnswer("refused", detail)


def _microsoft_errors(answer: Answer, count: int) -> dict[int, str]:
    """Return what is wrong with events, by their place in the request of so many."""
    error = answer.body.get("error")
    details = error.get("details") if isinstance(error, dict) else None
    found: dict[int, str] = {}
    for one in details if isinstance(details, list) else ():
        if isinstance(one, dict) and isinstance(place := one.get("index"), int) and 0 <= place < count:
            text = " ".join(str(one[name]) for name in ("propertyName", "errorMessage") if one.get(name))
            found[place] = f"{found[place]}; {text}" if place in found else text
    return found


def _of_one(bad: dict[int, str], place: int) -> ExportAnswer:
    if place in bad:
        return ExportAnswer("refused", bad[place][:DETAIL_CHARACTERS])
    return ExportAnswer("sent", "HTTP 200")


def _detail(answer: Answer) -> str:
    return f"HTTP {answer.status}: {answer.text.strip()}"[:DETAIL_CHARACTERS]


async def _post(
    api: ProviderApi, path: str, body: dict[str, Any], headers: dict[str, str], now_ms: int
) -> Answer | SendResult:
    return await api.post(path, orjson.dumps(body), {"Content-Type": "application/json", **headers}, now_ms)
