"""Laws of providers' signatures: what a provider has signed is accepted, and any change of it is refused."""

from __future__ import annotations

import hashlib
import hmac
import time
from datetime import UTC, datetime
from urllib.parse import parse_qsl, urlencode

from hypothesis import given
from hypothesis import strategies as st

from processors.intake.provider_signatures import meta_problem, sendgrid_problem, sns_problem, twilio_problem
from tests.support.hook_signatures import SECRETS, base64_text, sendgrid

BODIES = st.binary(max_size=200)
FIELDS = st.dictionaries(st.text(max_size=8), st.text(max_size=20), max_size=6)
URL = "https://events.shop.example/v1/hooks/twilio"
KEY = SECRETS.partition("sendgrid=")[2].partition(",")[0]
NOW = datetime.now(UTC)


@given(BODIES, BODIES)
def test_meta_vouches_for_one_body(body: bytes, other: bytes) -> None:
    headers = {"x-hub-signature-256": "sha256=" + hmac.new(b"secret", body, hashlib.sha256).hexdigest()}

    assert meta_problem(headers, body, ["secret"]) is None
    assert (meta_problem(headers, other, ["secret"]) is None) == (body == other)
    assert meta_problem(headers, body, ["Secret"]) is not None


@given(FIELDS, FIELDS)
def test_twilio_vouches_for_one_form_whatever_the_order_of_its_fields(
    fields: dict[str, str], other: dict[str, str]
) -> None:
    def signed_text(form: dict[str, str]) -> str:
        pairs = sorted(set(parse_qsl(urlencode(form), keep_blank_values=True)))
        return URL + "".join(name + value for name, value in pairs)

    signature = base64_text(hmac.new(b"token", signed_text(fields).encode(), hashlib.sha1).digest())
    headers = {"content-type": "application/x-www-form-urlencoded", "x-twilio-signature": signature}

    def problem(form: dict[str, str]) -> str | None:
        return twilio_problem(headers, urlencode(form).encode(), [URL], ["token"])

    assert problem(fields) is None
    assert problem(dict(reversed(fields.items()))) is None
    assert (problem(other) is None) == (signed_text(other) == signed_text(fields))


@given(st.lists(FIELDS, max_size=3), st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_sendgrid_vouches_for_every_byte(events: list[dict[str, str]], place: int, change: int) -> None:
    request, now_ms = sendgrid(events), int(time.time() * 1000)
    headers = {name.lower(): value for name, value in request.headers.items()}
    changed = bytearray(request.body)
    changed[place % len(changed)] ^= change

    assert sendgrid_problem(headers, request.body, [KEY], now_ms) is None
    assert sendgrid_problem(headers, bytes(changed), [KEY], now_ms) is not None


@given(FIELDS)
def test_no_hostile_input_makes_a_check_raise(fields: dict[str, str]) -> None:
    headers = {name.lower(): value for name, value in fields.items()}
    hostile = "".join(fields) or "?"
    raw = hostile.encode("utf-8", "replace")

    for one in (
        sendgrid_problem(
            {**headers, "x-twilio-email-event-webhook-signature": hostile,
             "x-twilio-email-event-webhook-timestamp": hostile}, b"", [hostile], 0,
        ),
        twilio_problem({**headers, "x-twilio-signature": hostile}, raw, [f"https://{hostile}"], ["a"]),
        meta_problem({**headers, "x-hub-signature-256": f"sha256={hostile}"}, b"", ["a"]),
        sns_problem({**fields, "Type": "Notification", "Signature": hostile}, raw, [], NOW),
    ):  # fmt: skip
        assert one is not None
