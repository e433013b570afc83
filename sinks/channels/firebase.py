"""Push messages to apps and browsers by Firebase Cloud Messaging, HTTP v1.

Sources: Firebase, *Send messages using the HTTP v1 API* and *ErrorCode*; Google, *Using OAuth 2.0 for server to server
applications*. A token that is not registered any more ends the address. FCM drops no repeat, so a message whose answer
never came is in doubt.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import orjson
from joserfc import jwt
from joserfc.jwk import RSAKey

from schemas.delivery.outbound import OutboundMessage, SendResult
from schemas.delivery.providers import FirebaseMessaging
from sinks.channels.http_calls import Answer, ProviderApi
from sinks.channels.tracking_headers import message_facts

_SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_GONE = frozenset({"UNREGISTERED", "SENDER_ID_MISMATCH"})
_LATER = frozenset({"QUOTA_EXCEEDED", "UNAVAILABLE"})
_EARLIER_S = 120
"""An access token is renewed so long before it ends, seconds."""


class _ServiceAccount(NamedTuple):
    project: str
    email: str
    key: RSAKey
    key_id: str
    token_uri: str


class FirebaseAdapter:
    """Sends push messages.

    Args:
        rules: The file of the service account.
        base_url: Where the API is.

    Raises:
        ValueError: The file is none of a service account.
    """

    def __init__(self, rules: FirebaseMessaging, *, base_url: str = "https://fcm.googleapis.com") -> None:
        self._account = _read(rules.service_account_file)
        self._api = ProviderApi(base_url)
        uri = urlsplit(self._account.token_uri)
        self._tokens, self._token_path = ProviderApi(f"{uri.scheme}://{uri.netloc}"), uri.path
        self._token, self._token_until_ms = "", 0
        self._renewing = asyncio.Lock()

    async def send(self, message: OutboundMessage, now_ms: int) -> SendResult:
        """Make one attempt."""
        token = await self._access_token(now_ms)
        if isinstance(token, SendResult):
            return token
        path = f"/v1/projects/{self._account.project}/messages:send"
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        answer = await self._api.post(path, orjson.dumps({"message": _content(message)}), headers, now_ms)
        if isinstance(answer, SendResult):
            return answer
        if answer.status == 401:
            self._token_until_ms = 0
            return SendResult("retry", answer.detail)
        return _result(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()
        await self._tokens.close()

    async def _access_token(self, now_ms: int) -> str | SendResult:
        """Return a valid access token, asked for once for all messages that wait for it."""
        async with self._renewing:
            if now_ms < self._token_until_ms:
                return self._token
            now_s = now_ms // 1000
            claims = {
                "iss": self._account.email, "scope": _SCOPE, "aud": self._account.token_uri, "iat": now_s,
                "exp": now_s + 3600,
            }  # fmt: skip
            header = {"alg": "RS256", "typ": "JWT", "kid": self._account.key_id}
            form = urlencode({"grant_type": _GRANT, "assertion": jwt.encode(header, claims, self._account.key)})
            answer = await self._tokens.post(
                self._token_path, form.encode(), {"Content-Type": "application/x-www-form-urlencoded"}, now_ms
            )
            if isinstance(answer, SendResult):
                return SendResult("retry", answer.detail)  # nothing was sent yet
            token, lifetime_s = answer.body.get("access_token"), answer.body.get("expires_in")
            if not (isinstance(token, str) and isinstance(lifetime_s, int)):
                return SendResult("retry", f"no access token: {answer.detail}", answer.retry_after_ms)
            self._token, self._token_until_ms = token, now_ms + max(0, lifetime_s - _EARLIER_S) * 1000
            return token


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


def _read(path: Path) -> _ServiceAccount:
    try:
        found = orjson.loads(path.read_bytes())
        return _ServiceAccount(
            found["project_id"],
            found["client_email"],
            RSAKey.import_key(found["private_key"]),
            found["private_key_id"],
            found["token_uri"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"providers.fcm: {path} is no file of a service account, as Firebase's console makes it"
            f" ({type(error).__name__})"
        ) from None
