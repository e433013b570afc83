"""Sessions: a signed cookie that says who signed in, the token of its forms, and the limit of failed sign-ins.

Nothing is stored on the server: several consoles with one `THROUGHLINE_CONSOLE_SECRET` share sessions. Rights are not
in the cookie but looked up at each request, so a change of `console.yaml` counts at the next start.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import OrderedDict, deque
from hashlib import sha256
from typing import NamedTuple

import orjson

from schemas.durations import HOUR_MS, MINUTE_MS

SESSION_MS = 12 * HOUR_MS
MAX_FAILURES, WITHIN_MS = 10, 5 * MINUTE_MS
"""So many failed sign-ins of one address within this time; then it has to wait."""
_MAX_ADDRESSES = 10_000


class Session(NamedTuple):
    """One sign-in.

    Attributes:
        user: The name.
        groups: Groups of the user, by the identity provider.
        ends_ms: When it ends, milliseconds since 1970.
        nonce: Tells it from all others.
    """

    user: str
    groups: tuple[str, ...]
    ends_ms: int
    nonce: str


class Sessions:
    """Signs and reads sessions.

    Args:
        secret: Key of the signatures; empty: a random one, so sessions end with this process.
    """

    def __init__(self, secret: str) -> None:
        self._key = sha256(b"throughline console sessions\0" + (secret.encode() or secrets.token_bytes(32))).digest()

    def begin(self, user: str, now_ms: int, groups: tuple[str, ...] = ()) -> Session:
        """Return a new session."""
        return Session(user, groups, now_ms + SESSION_MS, secrets.token_urlsafe(12))

    def signed(self, value: object, purpose: str) -> str:
        """Return a value as text with its signature, for a cookie."""
        body = urlsafe_b64encode(orjson.dumps(value)).decode().rstrip("=")
        return f"{body}.{self._signature(f'{purpose} {body}')}"

    def read_signed(self, text: str, purpose: str) -> object:
        """Return the value of a signed text; None: it is not one of ours, or is for another purpose."""
        body, _, signature = text.rpartition(".")
        if not body or not _is_same(signature, self._signature(f"{purpose} {body}")):
            return None
        return orjson.loads(urlsafe_b64decode(body + "=" * (-len(body) % 4)))

    def cookie(self, session: Session) -> str:
        """Return the value of the session's cookie."""
        return self.signed([session.user, session.groups, session.ends_ms, session.nonce], "session")

    def read(self, cookie: str, now_ms: int) -> Session | None:
        """Return the session of a cookie; None: it is not one of ours, or it has ended."""
        found = self.read_signed(cookie, "session")
        if not isinstance(found, list) or len(found) != 4 or found[2] <= now_ms:
            return None
        return Session(found[0], tuple(found[1]), found[2], found[3])

    def form_token(self, session: Session) -> str:
        """Return the token that each form of the session carries: another site cannot read it."""
        return self._signature(f"form {session.nonce} {session.user}")

    def is_form_token(self, session: Session, token: str) -> bool:
        """Return whether a form is of this session."""
        return _is_same(token, self.form_token(session))

    def _signature(self, text: str) -> str:
        return urlsafe_b64encode(hmac.digest(self._key, _bytes(text), "sha256")).decode().rstrip("=")


def _is_same(text: str, ours: str) -> bool:
    """Return whether two texts are the same, in a time that does not depend on where they differ."""
    return hmac.compare_digest(_bytes(text), _bytes(ours))


def _bytes(text: str) -> bytes:
    """Return the bytes of a text of a request; a header's bytes that are not UTF-8 are surrogates in it."""
    return text.encode(errors="surrogatepass")


class SignInLimit:
    """Counts failed sign-ins by address, in memory."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, deque[int]] = OrderedDict()

    def blocked_s(self, address: str, now_ms: int) -> int:
        """Return how many seconds an address has to wait; 0: it may try."""
        failures = self._failures.get(address)
        while failures and failures[0] <= now_ms - WITHIN_MS:
            failures.popleft()
        if not failures or len(failures) < MAX_FAILURES:
            return 0
        return max(1, (failures[0] + WITHIN_MS - now_ms) // 1000)

    def failed(self, address: str, now_ms: int) -> None:
        """Count a failure."""
        self._failures.setdefault(address, deque(maxlen=MAX_FAILURES)).append(now_ms)
        self._failures.move_to_end(address)
        if len(self._failures) > _MAX_ADDRESSES:
            self._failures.popitem(last=False)
