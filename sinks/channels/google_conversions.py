"""Conversions to Google Ads: by the Data Manager API; adjustments of them by the Google Ads API.

Sources: Google, *Data Manager API: events.ingest* and *ErrorReason*; *Google Ads API: import conversion adjustments*
and *partial failure*. Google counts a conversion once for each action and transaction id. It adjusts only what it has
processed, which takes hours: until then an adjustment is not yet possible.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from schemas.delivery.outbound import SendResult
from schemas.export.destinations import Google
from schemas.export.exports import ExportAnswer, ExportItem
from sinks.channels.conversion_apis import DETAIL_CHARACTERS, batch_api, halved, http_answer
from sinks.channels.google_access import GoogleAccess
from sinks.channels.http_calls import Answer, ProviderApi

_DATA_MANAGER = "https://www.googleapis.com/auth/datamanager"
_ADWORDS = "https://www.googleapis.com/auth/adwords"
_PLACE = re.compile(r"\bevents\[(\d+)\]")
_NOT_YET = frozenset({"TOO_RECENT_CONVERSION", "TOO_RECENT_CONVERSION_ACTION", "CONVERSION_NOT_FOUND"})
_DONE = frozenset({"CONVERSION_ALREADY_RETRACTED", "CONVERSION_ALREADY_ENHANCED", "DUPLICATE_ADJUSTMENT_IN_REQUEST"})
"""Errors of a repeat: Google has it already."""
_PASSING = frozenset({"CONCURRENT_MODIFICATION", "INTERNAL_ERROR", "RESOURCE_TEMPORARILY_EXHAUSTED", "TRANSIENT_ERROR"})
"""Errors of no adjustment: Google asks to send it again."""
_OF_ALL = frozenset({"UNSUPPORTED_VERSION", "INVALID_CUSTOMER_ID"})
"""Errors of what the file says: Google switches off a version of the API about a year after it came."""


class GoogleConversions:
    """Sends conversions and adjustments to one Google Ads account.

    Args:
        rules: The account.
        developer_token: Of the Google Ads API; empty: no adjustments.

    Raises:
        ValueError: The file of the service account is none.
    """

    most = 500

    def __init__(self, rules: Google, developer_token: str) -> None:
        self._rules, self._developer_token = rules, developer_token
        scope = f"{_DATA_MANAGER} {_ADWORDS}" if developer_token else _DATA_MANAGER
        self._access = GoogleAccess(rules.service_account_file, scope)
        self._api, self._ads = batch_api(rules.api), batch_api(rules.ads_api)

    async def send(self, items: list[ExportItem], now_ms: int) -> list[ExportAnswer]:
        """Send conversions and adjustments; answers in their order."""
        conversions = [one for one in items if one.kind == "conversion"]
        adjustments = [one for one in items if one.kind != "conversion"]
        taken = iter(await self._ingest(conversions, now_ms) if conversions else [])
        adjusted = iter(await self._adjust(adjustments, now_ms) if adjustments else [])
        return [next(taken if one.kind == "conversion" else adjusted) for one in items]

    async def close(self) -> None:
        """Close the connections."""
        for one in (self._api, self._ads, self._access):
            await one.close()

    async def _ingest(self, items: list[ExportItem], now_ms: int) -> list[ExportAnswer]:
        actions = sorted({one.body["destinationReferences"][0] for one in items})
        body = {
            "destinations": [self._destination(action) for action in actions],
            "events": [one.body for one in items],
            "encoding": "HEX",
        }
        answer = await self._post(self._api, "/v1/events:ingest", body, {}, now_ms)
        if isinstance(answer, ExportAnswer):
            return [answer] * len(items)
        if answer.status != 400:
            found = http_answer(answer)
            if found.outcome == "sent":
                found = found._replace(detail=f"request {answer.body.get('requestId', '')}")
            return [found] * len(items)
        bad = _violations(answer)
        if None in bad:
            return [ExportAnswer("unauthorised", bad[None])] * len(items)  # the account: no event is to blame
        named = {place: text for place, text in bad.items() if place is not None and place < len(items)}
        if not named:
            return await halved(items, now_ms, http_answer(answer), self._ingest)
        good = [one for place, one in enumerate(items) if place not in named]
        rest = iter(await self._ingest(good, now_ms) if good else [])
        return [ExportAnswer("refused", named[place]) if place in named else next(rest) for place in range(len(items))]

    async def _adjust(self, items: list[ExportItem], now_ms: int) -> list[ExportAnswer]:
        path = f"/{self._rules.version}/customers/{self._rules.customer_id}:uploadConversionAdjustments"
        headers = {"developer-token": self._developer_token}
        if self._rules.login_customer_id:
            headers["login-customer-id"] = self._rules.login_customer_id
        body = {"conversionAdjustments": [one.body for one in items], "partialFailure": True}
        answer = await self._post(self._ads, path, body, headers, now_ms)
        if isinstance(answer, ExportAnswer):
            return [answer] * len(items)
        found = http_answer(answer)
        if found.outcome != "sent":
            if any(_code(error) in _OF_ALL for error in _errors(answer, "error")):
                found = found._replace(outcome="unauthorised")
            return await halved(items, now_ms, found, self._adjust)
        errors = _partial_failures(answer)
        if not errors and (whole := _dict(answer.body.get("partialFailureError"))):
            # It does not say of which.
            refusal = ExportAnswer("refused", str(whole.get("message", ""))[:DETAIL_CHARACTERS])
            return await halved(items, now_ms, refusal, self._adjust)
        return [errors.get(place, found) for place in range(len(items))]

    def _destination(self, action: str) -> dict[str, Any]:
        found: dict[str, Any] = {
            "reference": action,
            "operatingAccount": {"accountType": "GOOGLE_ADS", "accountId": self._rules.customer_id},
            "productDestinationId": action,
        }
        if self._rules.login_customer_id:
            found["loginAccount"] = {"accountType": "GOOGLE_ADS", "accountId": self._rules.login_customer_id}
        return found

    async def _post(
        self, api: ProviderApi, path: str, body: dict[str, Any], headers: dict[str, str], now_ms: int
    ) -> Answer | ExportAnswer:
        token = await self._access.token(now_ms)
        if isinstance(token, SendResult):
            return ExportAnswer("later", token.detail)
        if isinstance(token, Answer):
            later = token.status >= 500 or token.status == 429
            return ExportAnswer("later" if later else "unauthorised", f"no access token: {token.detail}")
        sent = {"Content-Type": "application/json", "Authorization": f"Bearer {token}", **headers}
        answer = await api.post(path, orjson.dumps(body), sent, now_ms)
        if isinstance(answer, SendResult):
            return ExportAnswer("later", answer.detail, answer.retry_after_ms)
        if answer.status == 401:
            self._access.forget()
        return answer


def _violations(answer: Answer) -> dict[int | None, str]:
    """Return what is wrong with events, by their place in the request; None: with the account."""
    found: dict[int | None, str] = {}
    for detail in _dicts(_dict(answer.body.get("error")).get("details")):
        for one in _dicts(detail.get("fieldViolations")):
            field, text = str(one.get("field", "")), str(one.get("description", ""))
            place = _PLACE.search(field)
            if place is not None:
                found[int(place[1])] = f"{field}: {text}"[:DETAIL_CHARACTERS]
            elif field.startswith("destinations"):
                found[None] = f"{field}: {text}"[:DETAIL_CHARACTERS]
    return found


def _partial_failures(answer: Answer) -> dict[int, ExportAnswer]:
    """Return the answers of adjustments that failed, by their place in the request."""
    found: dict[int, ExportAnswer] = {}
    for error in _errors(answer, "partialFailureError"):
        path = _dicts(_dict(error.get("location")).get("fieldPathElements"))
        place = next((one["index"] for one in path if isinstance(one.get("index"), int)), None)
        if place is not None:
            code = _code(error)
            text = f"{code}: {error.get('message', '')}"[:DETAIL_CHARACTERS]
            outcome: Any = "not_yet" if code in _NOT_YET | _PASSING else "sent" if code in _DONE else "refused"
            found[place] = ExportAnswer(outcome, text)
    return found


def _errors(answer: Answer, name: str) -> list[dict[str, Any]]:
    details = _dicts(_dict(answer.body.get(name)).get("details"))
    return [error for detail in details for error in _dicts(detail.get("errors"))]


def _code(error: dict[str, Any]) -> str:
    return next((str(one) for one in _dict(error.get("errorCode")).values()), "")


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
