"""The schemes by which vendors sign webhooks, by the name that a mapping gives: `signature: {scheme: stripe}`.

A scheme is a pure function of the request: it returns why the request is not the vendor's, or nothing. Comparisons take
the same time for right and wrong values; of several secrets each counts, so that one can be replaced without a gap.

Sources: Shopify, *Deliver webhooks through HTTPS*; WooCommerce, `WC_Webhook::generate_signature`; Stripe, *Resolve
webhook signature verification errors*; Square, *Verify and validate an event notification*.

**Extend.** A scheme: options (a model), a function, its line in `SCHEMES`, and a signature of the vendor's in a test.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from processors.intake.provider_signatures import (
    CLOCK_ERROR_MS,
    MISSING,
    WRONG,
    basic_auth_problem,
    header_problem,
    mailgun_problem,
    meta_challenge,
    meta_problem,
    sendgrid_problem,
    sns_certificate_url,
    sns_confirmation_url,
    sns_problem,
    twilio_problem,
)
from schemas.time import ms_of_time

Secrets = Mapping[str, tuple[str, ...]]
"""The secrets of a source by their part, which is empty for most: `THROUGHLINE_HOOK_SECRETS=whatsapp=…` is the part ``,
`whatsapp:verify_token=…` the part `verify_token`."""


class SignedRequest(NamedTuple):
    """A request as its signature covers it.

    Attributes:
        url: The address that the vendor has called, with its query.
        headers: By name in small letters.
        query: The parameters of the address.
        body: The body as it came.
        payload: The body, parsed.
        received_at: When it came in.
        certificate: What was fetched from the scheme's `certificate_url`; empty without one.
    """

    url: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    payload: Any
    received_at: datetime
    certificate: bytes = b""


class NoOptions(BaseModel):
    """A scheme that leaves nothing to choose."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HmacOptions(NoOptions):
    """A signature of the body in a header.

    Attributes:
        header: The header.
        encoding: How the digest is written.
        prefix: What is before the digest, such as `sha256=`.
        signs_address: The address comes before the body in what is signed.
        ping: A field of a form that the vendor sends without a signature to try the address out; it is answered and
            nothing is made of it.
    """

    header: str = Field(min_length=1, max_length=100)
    encoding: Literal["base64", "hex"] = "base64"
    prefix: str = ""
    signs_address: bool = False
    ping: str | None = None


class StripeOptions(NoOptions):
    """Stripe's signature.

    Attributes:
        tolerance_s: How old it may be, in seconds; each retry is signed anew.
    """

    tolerance_s: int = Field(300, ge=1, le=86_400)


class HeaderOptions(NoOptions):
    """A secret of the operator's own in a header, for vendors that sign nothing."""

    header: str = Field(min_length=1, max_length=100)


class SignatureScheme(NamedTuple):
    """One scheme.

    Attributes:
        problem: Returns why a request is refused; None: it is the vendor's.
        options: The model of its options.
        challenge: Returns the answer to the GET by which a vendor checks the address; None: it is refused.
        certificate_url: Returns the address of a certificate that `problem` needs; None: of none that is trusted.
        token: Returns the part of the payload that makes a signature good for this payload alone, where the signature
            covers nothing else of it.
        confirmation_url: Returns the address that confirms a subscription, once the request has proved its origin.
        is_ping: Whether a request only tries the address out.
        answer: The text and the content type that a vendor wants as an answer; None: it takes JSON.
    """

    problem: Callable[[SignedRequest, Any, Secrets], str | None]
    options: type[NoOptions] = NoOptions
    challenge: Callable[[Mapping[str, str], Secrets], str | None] | None = None
    certificate_url: Callable[[Any, Secrets], str | None] | None = None
    token: Callable[[Any], str] | None = None
    confirmation_url: Callable[[Any], str | None] | None = None
    is_ping: Callable[[SignedRequest, Any], bool] | None = None
    answer: tuple[str, str] | None = None


def hmac_problem(request: SignedRequest, options: HmacOptions, secrets: Secrets) -> str | None:
    """Check an HMAC-SHA256 of the body, or of address and body."""
    stated = request.headers.get(options.header.lower(), "")
    if not stated:
        return MISSING
    if not stated.startswith(options.prefix):
        return WRONG
    signed = (request.url.encode("utf-8", "replace") if options.signs_address else b"") + request.body
    expected = []
    for secret in secrets.get("", ()):
        digest = hmac.digest(secret.encode(), signed, "sha256")
        expected.append(base64.b64encode(digest) if options.encoding == "base64" else digest.hex().encode())
    return _unless_one_of(stated.removeprefix(options.prefix), expected)


def stripe_problem(request: SignedRequest, options: StripeOptions, secrets: Secrets) -> str | None:
    """Check `Stripe-Signature: t=…,v1=…`: HMAC-SHA256 of time and body; several v1 where the secret was rolled."""
    parts = [part.partition("=") for part in request.headers.get("stripe-signature", "").split(",")]
    times = [value for name, _, value in parts if name.strip() == "t"]
    stated = [value for name, _, value in parts if name.strip() == "v1"][:10]
    if not times or not stated:
        return MISSING
    if not (times[0].isascii() and times[0].isdecimal() and len(times[0]) <= 12):
        return "the time of the signature is no number of seconds"
    age_ms = ms_of_time(request.received_at) - int(times[0]) * 1000
    if age_ms > options.tolerance_s * 1000:
        return (
            f"the signature is older than {options.tolerance_s} s: a request of the past, sent again, or a wrong clock"
        )
    if age_ms < -CLOCK_ERROR_MS:
        return "the time of the signature is in the future: check the clock of this server"
    signed = times[0].encode() + b"." + request.body
    expected = [hmac.digest(secret.encode(), signed, "sha256").hex().encode() for secret in secrets.get("", ())]
    return None if any(_unless_one_of(one, expected) is None for one in stated) else WRONG


def _unless_one_of(stated: str, expected: list[bytes]) -> str | None:
    given = stated.encode("utf-8", "replace")
    fits = [hmac.compare_digest(given, one) for one in expected]
    return None if any(fits) else WRONG


def _is_ping(request: SignedRequest, options: HmacOptions) -> bool:
    return (
        options.ping is not None
        and options.header.lower() not in request.headers
        and isinstance(request.payload, dict)
        and request.payload.keys() == {options.ping}
    )


def _sns_certificate_url(payload: Any, secrets: Secrets) -> str | None:
    """Return the address of a certificate, for messages of known topics only: nobody else makes the collector fetch."""
    known = isinstance(payload, dict) and payload.get("TopicArn") in secrets.get("", ())
    return sns_certificate_url(payload) if known else None


SCHEMES: dict[str, SignatureScheme] = {
    "hmac_sha256": SignatureScheme(hmac_problem, HmacOptions, is_ping=_is_ping),
    "stripe": SignatureScheme(stripe_problem, StripeOptions),
    "header": SignatureScheme(
        lambda request, options, secrets: header_problem(request.headers, options.header.lower(), secrets.get("", ())),
        HeaderOptions,
    ),
    "basic_auth": SignatureScheme(lambda request, _, secrets: basic_auth_problem(request.headers, secrets.get("", ()))),
    "sendgrid": SignatureScheme(
        lambda request, _, secrets: sendgrid_problem(
            request.headers, request.body, secrets.get("", ()), ms_of_time(request.received_at)
        )
    ),
    "mailgun": SignatureScheme(
        lambda request, _, secrets: mailgun_problem(
            request.payload, secrets.get("", ()), ms_of_time(request.received_at)
        ),
        token=lambda payload: payload["signature"]["token"],
    ),
    "twilio": SignatureScheme(
        lambda request, _, secrets: twilio_problem(request.headers, request.body, [request.url], secrets.get("", ())),
        answer=("<Response/>", "text/xml"),  # to a text that came in it is a reply, and this one says nothing
    ),
    "meta": SignatureScheme(
        lambda request, _, secrets: meta_problem(request.headers, request.body, secrets.get("", ())),
        challenge=lambda query, secrets: meta_challenge(query, secrets.get("verify_token", ())),
    ),
    "sns": SignatureScheme(
        lambda request, _, secrets: sns_problem(
            request.payload if isinstance(request.payload, dict) else {},
            request.certificate,
            secrets.get("", ()),  # not secret: the ARNs of the topics that count
            request.received_at,
        ),
        certificate_url=_sns_certificate_url,
        confirmation_url=lambda payload: sns_confirmation_url(payload) if isinstance(payload, dict) else None,
    ),
}
"""The schemes by name."""
