"""Push messages to apps and browsers by Firebase Cloud Messaging, HTTP v1.

Sources: Firebase, *Send messages using the HTTP v1 API* and *ErrorCode*; Google, *Using OAuth 2.0 for server to server
applications*. A token that is not registered any more ends the address. FCM drops no repeat, so a message whose answer
never came is in doubt.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from schemas.delivery.outbound import OutboundMessage, SendResult
from schemas.delivery.providers import FirebaseMessaging
from sinks.channels.google_access import GoogleAccess
from sinks.channels.http_calls import Answer, ProviderApi
from sinks.channels.tracking_headers import message_facts

_SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
_GONE = frozenset({"UNREGISTERED", "SENDER_ID_MISMATCH"})
_LATER = frozenset({"QUOTA_EXCEEDED", "UNAVAILABLE"})


class FirebaseAdapter:
    """Sends push messages.

    Args:
        rules: The file of the service account.
        base_url: Where the API is.

    Raises:
        ValueError: The file is none of a service account.
    """

    def __init__(self, rules: FirebaseMessaging, *, base_url: str = "https://fcm.googleapis.com") -> None:
        self._access = _access(rules.service_account_file)
        self._api = ProviderApi(base_url)

    async def send(self, message: OutboundMessage, now_ms: int) -> SendResult:
        """Make one attempt."""
        token = await self._access.token(now_ms)
        if not isinstance(token, str):
            detail = token.detail if isinstance(token, SendResult) else f"no access token: {token.detail}"
            return SendResult("retry", detail, token.retry_after_ms)  # nothing was sent yet
        path = f"/v1/projects/{self._access.project}/messages:send"
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        answer = await self._api.post(path, orjson.dumps({"message": _content(message)}), headers, now_ms)
        if isinstance(answer, SendResult):
            return answer
        if answer.status == 401:
            self._access.forget()
            return SendResult("retry", answer.detail)
        return _result(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()
        await self._access.close()


def _content(message: OutboundMessage) -> dict[str, Any]:
    rendered = message.rendered
    found: dict[str, Any] = {
        "token": message.address.get("value", ""),
        "data": message_facts(message.key, message.data),
    }
    if rendered is None:
        return found
    found["notification"] = {"title": rendered.title, "body": rendered.text}
    if rendered.link:
        found["data"]["link"] = rendered.link
        if rendered.link.startswith("https://"):  # FCM takes no other in a browser
            found["webpush"] = {"fcm_options": {"link": rendered.link}}
    return found


def _result(answer: Answer) -> SendResult:
    error = answer.body.get("error")
    details = error.get("details") if isinstance(error, dict) else None
    codes = {one.get("errorCode") for one in details or () if isinstance(one, dict)}
    if codes & _GONE:
        return SendResult("bounced", answer.detail)
    if codes & _LATER:
        return SendResult("retry", answer.detail, answer.retry_after_ms)
    return answer.result()


def _access(path: Path) -> GoogleAccess:
    try:
        return GoogleAccess(path, _SCOPE)
    except ValueError as error:
        raise ValueError(f"providers.fcm: {error}") from None
