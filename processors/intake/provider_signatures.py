"""Signatures of message providers' webhooks: each function says why a request is not the provider's, or nothing.

Each provider documents its own scheme. All comparisons take the same time for right and wrong values, and a reason
never quotes a secret or a signature. A request that arrives twice is no attack: its events have the ids of the first
time. A time limit exists where a signature proves less than the whole request (Mailgun) or no retry is so late.

Sources: SendGrid, *Getting Started with the Event Webhook Security Features*; Mailgun, *Securing webhooks*; Twilio,
*Webhooks security*; WhatsApp, *Create a webhook endpoint*; Amazon SNS, *Verifying the signatures of messages*; the
tests hold the vectors of the providers' own libraries.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

SENDGRID_SIGNATURE = "x-twilio-email-event-webhook-signature"
SENDGRID_TIMESTAMP = "x-twilio-email-event-webhook-timestamp"
TWILIO_SIGNATURE = "x-twilio-signature"
META_SIGNATURE = "x-hub-signature-256"

SENDGRID_RETRIES_MS = 25 * 3_600_000
"""SendGrid repeats a request for 24 hours."""
MAILGUN_RETRIES_MS = 12 * 3_600_000
"""Mailgun repeats a request for 8 hours. Its signature does not cover the event, so an old one proves nothing."""
CLOCK_ERROR_MS = 5 * 60_000
"""How far in the future a timestamp may be."""
MAX_TWILIO_FIELDS = 1_000
"""The most fields of a form whose signature is checked: anybody can send one, and sorting a million takes seconds."""

MISSING = "the signature is missing"
WRONG = "the signature does not fit: another secret, or the request was changed on its way"

# sns.<region>.amazonaws.com, and the same in China: the names that Amazon's own libraries accept.
_SNS_HOST = re.compile(r"sns\.[a-z0-9-]{3,30}\.amazonaws\.com(?:\.cn)?")
_SNS_CERTIFICATE = re.compile(r"/SimpleNotificationService-[0-9A-Za-z]{1,64}\.pem")
_SNS_FIELDS = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    "UnsubscribeConfirmation": ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
}
_SNS_HASHES: Mapping[str, hashes.HashAlgorithm] = {"1": hashes.SHA1(), "2": hashes.SHA256()}  # noqa: S303 - AWS's choice


def sendgrid_problem(headers: Mapping[str, str], body: bytes, public_keys: Iterable[str], now_ms: int) -> str | None:
    """Check the signed event webhook of SendGrid: ECDSA (P-256, SHA-256) over timestamp and body.

    Args:
        headers: The request's headers, by name in lower case.
        body: Its body as it came; SendGrid's ends with CR LF, which counts.
        public_keys: The verification keys of the provider's settings page: Base64 of the DER form, or PEM.
        now_ms: The time of arrival.

    Returns:
        Why the request is refused; None: it is SendGrid's.
    """
    signature, timestamp = headers.get(SENDGRID_SIGNATURE, ""), headers.get(SENDGRID_TIMESTAMP, "")
    if not signature or not timestamp:
        return MISSING
    if late := _timestamp_problem(timestamp, now_ms, SENDGRID_RETRIES_MS):
        return late
    signed = _decoded(signature)
    if signed is None:
        return WRONG
    for text in public_keys:
        key = _public_key(text)
        if isinstance(key, ec.EllipticCurvePublicKey):
            try:
                key.verify(signed, timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
                return None
            except InvalidSignature:
                continue
    return WRONG


def mailgun_problem(payload: object, signing_keys: Iterable[str], now_ms: int) -> str | None:
    """Check a webhook of Mailgun: HMAC-SHA256 over timestamp and token, in the body.

    Args:
        payload: The parsed body.
        signing_keys: HTTP webhook signing keys.
        now_ms: The time of arrival.
    """
    signature = payload.get("signature") if isinstance(payload, dict) else None
    if not isinstance(signature, dict):
        return MISSING
    timestamp, token, stated = (signature.get(name) for name in ("timestamp", "token", "signature"))
    if not (isinstance(token, str) and isinstance(stated, str) and isinstance(timestamp, str | int)):
        return MISSING
    if late := _timestamp_problem(str(timestamp), now_ms, MAILGUN_RETRIES_MS):
        return late
    signed = f"{timestamp}{token}".encode("utf-8", "replace")
    return _hmac_problem(signing_keys, "sha256", signed, lambda digest: digest.hex(), stated)


def basic_auth_problem(headers: Mapping[str, str], credentials: Iterable[str]) -> str | None:
    """Check HTTP Basic, for providers that sign nothing (Postmark): `user:password`, set in the webhook's address.

    Args:
        headers: The request's headers, by name in lower case.
        credentials: Each `user:password`.
    """
    scheme, _, encoded = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic" or not encoded:
        return MISSING
    stated = _decoded(encoded.strip()) or b""
    return None if _is_one_of(stated, (one.encode() for one in credentials)) else WRONG


def header_problem(headers: Mapping[str, str], name: str, secrets: Iterable[str]) -> str | None:
    """Check a header with a secret of the operator's own, for providers that sign nothing.

    Args:
        headers: The request's headers, by name in lower case.
        name: The header's name, in lower case.
        secrets: The values that count.
    """
    stated = headers.get(name, "")
    if not stated:
        return MISSING
    return None if _is_one_of(stated.encode("utf-8", "replace"), (one.encode() for one in secrets)) else WRONG


def twilio_problem(headers: Mapping[str, str], body: bytes, urls: Sequence[str], tokens: Iterable[str]) -> str | None:
    """Check a webhook of Twilio: HMAC-SHA1 over its address and the sorted fields of the form.

    A body of JSON is signed by its SHA-256, which Twilio adds to the address as `bodySHA256`. The port is part of what
    is signed or not, depending on Twilio's service: both count, as in Twilio's own libraries.

    Args:
        headers: The request's headers, by name in lower case.
        body: Its body.
        urls: The addresses under which Twilio may have called: as set at Twilio, with the query that it has sent.
        tokens: The account's auth tokens.
    """
    stated = headers.get(TWILIO_SIGNATURE, "")
    if not stated:
        return MISSING
    fields = ""
    if headers.get("content-type", "").partition(";")[0].strip().lower() == "application/x-www-form-urlencoded":
        try:
            form = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_TWILIO_FIELDS)
        except ValueError:
            return WRONG
        fields = "".join(name + value for name, value in sorted(set(form)))
    elif body:
        digest = hashlib.sha256(body).hexdigest()
        query = dict(parse_qsl(urls[0].partition("?")[2])) if urls else {}
        if not _is_one_of(query.get("bodySHA256", "").lower().encode("utf-8", "replace"), [digest.encode()]):
            return WRONG
    secrets = list(tokens)
    for url in {form for one in urls for form in _with_and_without_port(one)}:
        signed = (url + fields).encode("utf-8", "replace")
        if _hmac_problem(secrets, "sha1", signed, lambda digest: base64.b64encode(digest).decode(), stated) is None:
            return None
    return WRONG


def meta_problem(headers: Mapping[str, str], body: bytes, app_secrets: Iterable[str]) -> str | None:
    """Check a webhook of Meta (WhatsApp, Messenger): HMAC-SHA256 over the body.

    Args:
        headers: The request's headers, by name in lower case.
        body: Its body as it came.
        app_secrets: The app's secrets.
    """
    scheme, _, stated = headers.get(META_SIGNATURE, "").partition("=")
    if scheme != "sha256" or not stated:
        return MISSING
    return _hmac_problem(app_secrets, "sha256", body, lambda digest: digest.hex(), stated)


def meta_challenge(query: Mapping[str, str], verify_tokens: Iterable[str]) -> str | None:
    """Return what the GET of Meta's verification is answered with; None: it does not know the verify token.

    Args:
        query: `hub.mode`, `hub.verify_token` and `hub.challenge`.
        verify_tokens: The tokens that the operator has set at Meta.
    """
    stated = query.get("hub.verify_token", "").encode("utf-8", "replace")
    known = query.get("hub.mode") == "subscribe" and _is_one_of(stated, (one.encode() for one in verify_tokens))
    return query.get("hub.challenge", "") if known else None


def sns_problem(message: Mapping[str, Any], certificate: bytes, topics: Iterable[str], now: datetime) -> str | None:
    """Check a message of Amazon SNS: RSA over its fields, with the certificate of its `SigningCertURL`.

    Args:
        message: The parsed body.
        certificate: The certificate, PEM, fetched from an address that `sns_certificate_url` has allowed.
        topics: ARNs of the topics that count: anybody can make a topic of their own and subscribe our address to it.
        now: The time of arrival.
    """
    names = _SNS_FIELDS.get(str(message.get("Type")))
    stated, algorithm = message.get("Signature"), _SNS_HASHES.get(str(message.get("SignatureVersion")))
    if names is None or not isinstance(stated, str) or not stated:
        return MISSING
    if algorithm is None:
        return "the SignatureVersion is not 1 or 2"
    if message.get("TopicArn") not in frozenset(topics):
        return "its TopicArn is not one of this source's"
    parts = []
    for name in names:
        value = message.get(name)
        if isinstance(value, str):
            parts.append(f"{name}\n{value}\n")
        elif name != "Subject":
            return f"its {name} is missing"
    signature = _decoded(stated)
    try:
        issued = x509.load_pem_x509_certificate(certificate)
        key = issued.public_key()
    except ValueError:
        return "the certificate of its SigningCertURL cannot be read"
    if not issued.not_valid_before_utc <= now <= issued.not_valid_after_utc:
        return "the certificate of its SigningCertURL is not valid now"
    if signature is None or not isinstance(key, rsa.RSAPublicKey):
        return WRONG
    try:
        key.verify(signature, "".join(parts).encode("utf-8", "replace"), padding.PKCS1v15(), algorithm)
    except InvalidSignature:
        return WRONG
    return None


def sns_certificate_url(message: Mapping[str, Any]) -> str | None:
    """Return the address of a message's certificate if it is one of Amazon SNS; None otherwise."""
    url = _sns_url(message.get("SigningCertURL"))
    return url if url and _SNS_CERTIFICATE.fullmatch(urlsplit(url).path) and not urlsplit(url).query else None


def sns_confirmation_url(message: Mapping[str, Any]) -> str | None:
    """Return the address that confirms a subscription, if it is one of Amazon SNS; None otherwise."""
    return _sns_url(message.get("SubscribeURL")) if message.get("Type") == "SubscriptionConfirmation" else None


def _sns_url(url: object) -> str | None:
    """Return an address if it leads to Amazon SNS over HTTPS and nowhere else, whoever reads it."""
    if (
        not isinstance(url, str)
        or len(url) > 2048
        or not url.isascii()
        or not url.isprintable()
        or not {"\\", "#"}.isdisjoint(url)
    ):
        return None
    try:
        parts = urlsplit(url)
        plain = parts.scheme == "https" and _SNS_HOST.fullmatch(parts.netloc) is not None
    except ValueError:
        return None
    return url if plain else None


def _timestamp_problem(text: str, now_ms: int, oldest_ms: int) -> str | None:
    if not (text.isascii() and text.isdecimal() and len(text) <= 12):
        return "the timestamp of the signature is no number of seconds"
    age_ms = now_ms - int(text) * 1000
    if age_ms > oldest_ms:
        return "the signature is too old: a request of the past, sent again"
    if age_ms < -CLOCK_ERROR_MS:
        return "the timestamp of the signature is in the future"
    return None


def _hmac_problem(
    secrets: Iterable[str], algorithm: str, signed: bytes, written: Callable[[bytes], str], stated: str
) -> str | None:
    expected = (written(hmac.digest(secret.encode(), signed, algorithm)).encode() for secret in secrets if secret)
    return None if _is_one_of(stated.encode("utf-8", "replace"), expected) else WRONG


def _is_one_of(stated: bytes, expected: Iterable[bytes]) -> bool:
    """Compare with each, in a time that says nothing about how much of it fits."""
    return any(hmac.compare_digest(stated, one) for one in expected if one)


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def _public_key(text: str) -> object:
    try:
        if "BEGIN" in text:
            return serialization.load_pem_public_key(text.encode())
        return serialization.load_der_public_key(base64.b64decode(text))
    except ValueError:
        return None


def _with_and_without_port(url: str) -> tuple[str, ...]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # of a Host header that is none
        return (url,)
    host = parts.netloc.rpartition("@")[2]
    bare = host if port is None else host[: -len(f":{port}")]
    numbered = f"{bare}:{port or (443 if parts.scheme == 'https' else 80)}"
    return tuple(urlunsplit(parts._replace(netloc=netloc)) for netloc in (bare, numbered))
