"""Access tokens of Google's APIs for a service account.

Source: Google, *Using OAuth 2.0 for server to server applications*.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import orjson
from joserfc import jwt
from joserfc.jwk import RSAKey

from schemas.delivery.outbound import SendResult
from sinks.channels.http_calls import Answer, ProviderApi

_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_EARLIER_S = 120
"""An access token is renewed so long before it ends, seconds."""


class _ServiceAccount(NamedTuple):
    project: str
    email: str
    key: RSAKey
    key_id: str
    token_uri: str


class GoogleAccess:
    """Gets access tokens, each for an hour.

    Args:
        path: The file of the service account.
        scope: What the tokens allow, separated by spaces.

    Raises:
        ValueError: The file is none of a service account.
    """

    def __init__(self, path: Path, scope: str) -> None:
        self._account, self._scope = _read(path), scope
        uri = urlsplit(self._account.token_uri)
        self._tokens, self._path = ProviderApi(f"{uri.scheme}://{uri.netloc}"), uri.path
        self._token, self._until_ms = "", 0
        self._renewing = asyncio.Lock()

    @property
    def project(self) -> str:
        """Return the project of the service account."""
        return self._account.project

    async def token(self, now_ms: int) -> str | Answer | SendResult:
        """Return a valid token, asked for once for all calls that wait for it; what came instead if there is none."""
        async with self._renewing:
            if now_ms < self._until_ms:
                return self._token
            now_s = now_ms // 1000
            claims = {
                "iss": self._account.email, "scope": self._scope, "aud": self._account.token_uri, "iat": now_s,
                "exp": now_s + 3600,
            }  # fmt: skip
            header = {"alg": "RS256", "typ": "JWT", "kid": self._account.key_id}
            form = urlencode({"grant_type": _GRANT, "assertion": jwt.encode(header, claims, self._account.key)})
            answer = await self._tokens.post(
                self._path, form.encode(), {"Content-Type": "application/x-www-form-urlencoded"}, now_ms
            )
            if isinstance(answer, SendResult):
                return answer
            token, lifetime_s = answer.body.get("access_token"), answer.body.get("expires_in")
            if not (isinstance(token, str) and isinstance(lifetime_s, int)):
                return answer
            self._token, self._until_ms = token, now_ms + max(0, lifetime_s - _EARLIER_S) * 1000
            return token

    def forget(self) -> None:
        """Ask for a new token the next time: this one was refused."""
        self._until_ms = 0

    async def close(self) -> None:
        """Close the connections."""
        await self._tokens.close()


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
            f"{path} is no file of a service account, as Google's console makes it ({type(error).__name__})"
        ) from None
