"""Webhook signatures of message providers: right, wrong, missing, late, and not theirs at all."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from processors.intake.provider_signatures import (
    MISSING,
    SENDGRID_SIGNATURE,
    SENDGRID_TIMESTAMP,
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

TOO_OLD = "the signature is too old: a request of the past, sent again"
IN_THE_FUTURE = "the timestamp of the signature is in the future"
HOUR_MS = 3_600_000

# The vector of SendGrid's own libraries (sendgrid-python, test_eventwebhook.py).
SENDGRID_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1"
    "flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
)
OTHER_SENDGRID_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqTxd43gyp8IOEto2LdIfjRQrIbsd4SXZkLW6jDut"
    "dhXSJCWHw8REntlo7aNDthvj+y7GjUuFDb/R1NGe1OPzpA=="
)
SENDGRID_SIGNED = "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="
SENDGRID_OTHER_SIGNED = (
    "MEUCIQCtIHJeH93Y+qpYeWrySphQgpNGNr/U+UyUlBkU6n7RAwIgJTz2C+8a8xonZGi6BpSzoQsbVRamr2nlxFDWYNH3j/0="
)
SENDGRID_SECONDS = "1600112502"
SENDGRID_MS = int(SENDGRID_SECONDS) * 1000
SENDGRID_BODY = (
    b'[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address",'
    b'"sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",'
    b'"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",'
    b'"smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]\r\n'
)


@pytest.mark.parametrize(
    ("expected", "signature", "timestamp", "body", "keys", "later_ms"),
    [
        (None, SENDGRID_SIGNED, SENDGRID_SECONDS, SENDGRID_BODY, [SENDGRID_KEY], 1000),
        (None, SENDGRID_SIGNED, SENDGRID_SECONDS, SENDGRID_BODY, [OTHER_SENDGRID_KEY, SENDGRID_KEY], 24 * HOUR_MS),
        (WRONG, SENDGRID_SIGNED, SENDGRID_SECONDS, SENDGRID_BODY.strip(), [SENDGRID_KEY], 1000),
        (WRONG, SENDGRID_SIGNED, "1600112503", SENDGRID_BODY, [SENDGRID_KEY], 1000),
        (WRONG, SENDGRID_SIGNED, SENDGRID_SECONDS, SENDGRID_BODY, [OTHER_SENDGRID_KEY], 1000),
        (WRONG, SENDGRID_OTHER_SIGNED, SENDGRID_SECONDS, SENDGRID_BODY, [SENDGRID_KEY], 1000),
        (WRONG, "not Base64", SENDGRID_SECONDS, SENDGRID_BODY, [SENDGRID_KEY], 1000),
        (WRONG, SENDGRID_SIGNED, SENDGRID_SECONDS, SENDGRID_BODY, ["no key", ""], 1000),
        (WRONG, SENDGRID_SIGNED, SENDGRID_SECONDS, SENDGRID_BODY, [], 1000),
        (MISSING, "", SENDGRID_SECONDS, SENDGRID_BODY, [SENDGRID_KEY], 1000),
        (MISSING, SENDGRID_SIGNED, "", SENDGRID_BODY, [SENDGRID_KEY], 1000),
        (TOO_OLD, SENDGRID_SIGNED, SENDGRID_SECONDS, SENDGRID_BODY, [SENDGRID_KEY], 26 * HOUR_MS),
        (IN_THE_FUTURE, SENDGRID_SIGNED, SENDGRID_SECONDS, SENDGRID_BODY, [SENDGRID_KEY], -HOUR_MS),
        ("the timestamp of the signature is no number of seconds",
         SENDGRID_SIGNED, "timestamp", SENDGRID_BODY, [SENDGRID_KEY], 1000),
    ],
    ids=["right", "a retry, with the second of two keys", "the line end is missing", "another timestamp", "another key",
         "another signature", "no Base64", "no key can be read", "no key", "no signature", "no timestamp", "replayed",
         "in the future", "no timestamp but text"],
)  # fmt: skip
def test_sendgrid(
    expected: str | None, signature: str, timestamp: str, body: bytes, keys: list[str], later_ms: int
) -> None:
    headers = {SENDGRID_SIGNATURE: signature, SENDGRID_TIMESTAMP: timestamp}

    assert expected == sendgrid_problem(headers, body, keys, SENDGRID_MS + later_ms)


def test_a_pem_key_of_sendgrid_counts_too() -> None:
    pem = f"-----BEGIN PUBLIC KEY-----\n{SENDGRID_KEY}\n-----END PUBLIC KEY-----"
    headers = {SENDGRID_SIGNATURE: SENDGRID_SIGNED, SENDGRID_TIMESTAMP: SENDGRID_SECONDS}

    assert sendgrid_problem(headers, SENDGRID_BODY, [pem], SENDGRID_MS) is None


MAILGUN_KEY = "key-of-webhooks"
MAILGUN_TOKEN = "a8ce0edb2dd8301dee6c2405235584e45aa91d1e9f979f3de0"
MAILGUN_SECONDS = 1_529_006_854


def mailgun(**changes: Any) -> dict[str, Any]:
    signed = f"{MAILGUN_SECONDS}{MAILGUN_TOKEN}".encode()
    signature = {
        "timestamp": str(MAILGUN_SECONDS),
        "token": MAILGUN_TOKEN,
        "signature": hmac.new(MAILGUN_KEY.encode(), signed, hashlib.sha256).hexdigest(),
    }
    return {"signature": signature | changes, "event-data": {"event": "opened"}}


@pytest.mark.parametrize(
    ("expected", "payload", "keys", "later_ms"),
    [
        (None, mailgun(), [MAILGUN_KEY], 1000),
        (None, mailgun(timestamp=MAILGUN_SECONDS), ["another", MAILGUN_KEY], 8 * HOUR_MS),
        (WRONG, mailgun(), ["another"], 1000),
        (WRONG, mailgun(), [""], 1000),
        (WRONG, mailgun(token="another"), [MAILGUN_KEY], 1000),
        (WRONG, mailgun(timestamp=str(MAILGUN_SECONDS + 1)), [MAILGUN_KEY], 1000),
        (MISSING, mailgun(signature=None), [MAILGUN_KEY], 1000),
        (MISSING, mailgun(token=["a", "list"]), [MAILGUN_KEY], 1000),
        (MISSING, {"event-data": {}}, [MAILGUN_KEY], 1000),
        (MISSING, ["a", "list"], [MAILGUN_KEY], 1000),
        (TOO_OLD, mailgun(), [MAILGUN_KEY], 13 * HOUR_MS),
        (IN_THE_FUTURE, mailgun(), [MAILGUN_KEY], -HOUR_MS),
    ],
    ids=["right", "a retry, with the second of two keys", "another key", "an empty key", "another token",
         "another timestamp", "no signature", "no token", "no block", "no object", "replayed", "in the future"],
)  # fmt: skip
def test_mailgun(expected: str | None, payload: object, keys: list[str], later_ms: int) -> None:
    assert expected == mailgun_problem(payload, keys, MAILGUN_SECONDS * 1000 + later_ms)


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


@pytest.mark.parametrize(
    ("expected", "header", "credentials"),
    [
        (None, basic("postmark:right"), ["postmark:right"]),
        (None, basic("postmark:new").replace("Basic", "basic"), ["postmark:old", "postmark:new"]),
        (WRONG, basic("postmark:wrong"), ["postmark:right"]),
        (WRONG, basic(":"), [""]),
        (WRONG, "Basic not-base-64", ["postmark:right"]),
        (MISSING, "Bearer postmark:right", ["postmark:right"]),
        (MISSING, "", ["postmark:right"]),
    ],
    ids=["right", "two count while they change", "wrong", "nothing is set", "no Base64", "another scheme", "missing"],
)
def test_basic_auth(expected: str | None, header: str, credentials: list[str]) -> None:
    assert expected == basic_auth_problem({"authorization": header}, credentials)


@pytest.mark.parametrize(("expected", "header"), [(None, "s3cret"), (WRONG, "s3cre"), (WRONG, "š"), (MISSING, "")])
def test_a_header_of_the_operators_own(expected: str | None, header: str) -> None:
    assert expected == header_problem({"x-webhook-secret": header}, "x-webhook-secret", ["s3cret", ""])


# The vectors of Twilio's own libraries (twilio-python, test_request_validator.py), with the auth token 12345.
TWILIO_URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
TWILIO_URL_WITH_PORT = "https://mycompany.com:1234/myapp.php?foo=1&bar=2"
TWILIO_FORM = b"CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309"
TWILIO_REPEATED = b"Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234"
TWILIO_JSON = b'{"property": "value", "boolean": true}'
TWILIO_BODY_HASH = "0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
TWILIO_JSON_URL = f"{TWILIO_URL}&bodySHA256={TWILIO_BODY_HASH}"
FORM, JSON = "application/x-www-form-urlencoded", "application/json"


@pytest.mark.parametrize(
    ("expected", "signature", "url", "content_type", "body"),
    [
        (None, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", TWILIO_URL, FORM, TWILIO_FORM),
        (None, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", TWILIO_URL_WITH_PORT, f"{FORM}; charset=UTF-8", TWILIO_FORM),
        (None, "kvajT1Ptam85bY51eRf/AJRuM3w=", TWILIO_URL, FORM, TWILIO_FORM),
        (None, "0ZXoZLH/DfblKGATFgpif+LLRf4=", TWILIO_URL.replace("https", "http"), FORM, TWILIO_FORM),
        (None, "IK+Dwps556ElfBT0I3Rgjkr1wJU=", TWILIO_URL, FORM, TWILIO_REPEATED),
        (None, "a9nBmqA0ju/hNViExpshrM61xv4=", TWILIO_JSON_URL, JSON, TWILIO_JSON),
        (WRONG, "a9nBmqA0ju/hNViExpshrM61xv4=", TWILIO_JSON_URL, JSON, TWILIO_JSON + b" "),
        (WRONG, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", TWILIO_URL, JSON, TWILIO_JSON),
        (WRONG, "a9nBmqA0ju/hNViExpshrM61xv4=", f"{TWILIO_URL}&bodySHA256=%C3%A9", JSON, TWILIO_JSON),
        (WRONG, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", TWILIO_URL, FORM, TWILIO_FORM + b"1"),
        (WRONG, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", TWILIO_URL + "3", FORM, TWILIO_FORM),
        (WRONG, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", "https://mycompany.com:no-port/", FORM, TWILIO_FORM),
        (WRONG, "RSOYDt4T1cUTdK1PDd93/VVr8B8=", "https://[/myapp.php?foo=1", JSON, TWILIO_JSON),
        (MISSING, "", TWILIO_URL, FORM, TWILIO_FORM),
    ],
    ids=["right", "signed without the port", "signed with the port", "plain HTTP, signed with the port",
         "a field several times", "JSON", "JSON, changed", "JSON without its hash", "a hash of other letters",
         "a changed field", "another address", "no port", "no host", "missing"],
)  # fmt: skip
def test_twilio(expected: str | None, signature: str, url: str, content_type: str, body: bytes) -> None:
    headers = {"x-twilio-signature": signature, "content-type": content_type}

    assert expected == twilio_problem(headers, body, [url], ["", "12345"])


@pytest.mark.parametrize(
    "body", [b"&a=1" * 1_001, b'["' + b"&a" * 1_001 + b'"]'], ids=["a form", "JSON, said to be a form"]
)
def test_a_form_of_very_many_fields_is_refused_before_they_are_sorted(body: bytes) -> None:
    fields = "".join(name + value for name, value in sorted(set(parse_qsl(body.decode(), keep_blank_values=True))))
    signed = base64.b64encode(hmac.digest(b"12345", f"{TWILIO_URL}{fields}".encode(), "sha1")).decode()
    headers = {"x-twilio-signature": signed, "content-type": FORM}

    assert WRONG == twilio_problem(headers, body, [TWILIO_URL], ["12345"])


def test_twilio_may_have_called_a_proxy() -> None:
    headers = {"x-twilio-signature": "RSOYDt4T1cUTdK1PDd93/VVr8B8=", "content-type": FORM}
    behind = "http://10.0.0.5:8080/myapp.php?foo=1&bar=2"

    assert twilio_problem(headers, TWILIO_FORM, [behind, TWILIO_URL], ["12345"]) is None
    assert twilio_problem(headers, TWILIO_FORM, [behind], ["12345"]) == WRONG
    assert twilio_problem(headers, TWILIO_FORM, [TWILIO_URL], ["another"]) == WRONG
    assert twilio_problem(headers, TWILIO_FORM, [TWILIO_URL], []) == WRONG


META_BODY = b'{"object":"whatsapp_business_account","entry":[]}'
META_SIGNED = "sha256=" + hmac.new(b"app-secret", META_BODY, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("expected", "header", "body", "secrets"),
    [
        (None, META_SIGNED, META_BODY, ["app-secret"]),
        (None, META_SIGNED, META_BODY, ["new", "app-secret"]),
        (WRONG, META_SIGNED, META_BODY + b"\n", ["app-secret"]),
        (WRONG, META_SIGNED, META_BODY, ["another"]),
        (WRONG, META_SIGNED, META_BODY, []),
        (MISSING, META_SIGNED.replace("sha256", "sha1"), META_BODY, ["app-secret"]),
        (MISSING, "", META_BODY, ["app-secret"]),
    ],
    ids=["right", "two secrets", "a changed body", "another secret", "no secret", "SHA-1", "missing"],
)
def test_meta(expected: str | None, header: str, body: bytes, secrets: list[str]) -> None:
    assert expected == meta_problem({"x-hub-signature-256": header}, body, secrets)


@pytest.mark.parametrize(
    ("expected", "query"),
    [
        ("1158201444", {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "mine"}),
        (None, {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": "another"}),
        (None, {"hub.mode": "unsubscribe", "hub.challenge": "1158201444", "hub.verify_token": "mine"}),
        (None, {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": ""}),
        (None, {}),
    ],
)
def test_the_verification_of_meta(expected: str | None, query: dict[str, str]) -> None:
    assert expected == meta_challenge(query, ["mine", ""])


TOPIC = "arn:aws:sns:eu-central-1:123456789012:ses-events"
NOW = datetime(2026, 3, 1, tzinfo=UTC)
SIGNING_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def certificate(key: rsa.RSAPrivateKey = SIGNING_KEY, days: int = 30) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    issued = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=60))
        .not_valid_after(NOW + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return issued.public_bytes(serialization.Encoding.PEM)


CERTIFICATE = certificate()
NOTIFICATION = {
    "Type": "Notification",
    "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
    "TopicArn": TOPIC,
    "Subject": "Amazon SES Email Event Notification",
    "Message": '{"eventType":"Delivery"}\n',
    "Timestamp": "2026-02-28T23:59:00.000Z",
}
CONFIRMATION = {
    "Type": "SubscriptionConfirmation",
    "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
    "Token": "2336412f37",
    "TopicArn": TOPIC,
    "Message": "You have chosen to subscribe to the topic",
    "SubscribeURL": "https://sns.eu-central-1.amazonaws.com/?Action=ConfirmSubscription&Token=2336412f37",
    "Timestamp": "2026-02-28T23:59:00.000Z",
}


def sns_signed(message: Mapping[str, Any], version: str = "2") -> dict[str, Any]:
    """Sign as Amazon's guide says: the fields in the order of their names, each on a line after its name."""
    left_out = {"SignatureVersion", "Signature", "SigningCertURL", "UnsubscribeURL"}
    text = "".join(f"{name}\n{value}\n" for name, value in sorted(message.items()) if name not in left_out)
    algorithm: hashes.HashAlgorithm = hashes.SHA256() if version == "2" else hashes.SHA1()
    signature = SIGNING_KEY.sign(text.encode(), padding.PKCS1v15(), algorithm)
    return {**message, "SignatureVersion": version, "Signature": base64.b64encode(signature).decode()}


def without(message: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in message.items() if key != name}


@pytest.mark.parametrize(
    ("expected", "message", "pem"),
    [
        (None, sns_signed(NOTIFICATION), CERTIFICATE),
        (None, sns_signed(NOTIFICATION, "1"), CERTIFICATE),
        (None, sns_signed(without(NOTIFICATION, "Subject")), CERTIFICATE),
        (None, sns_signed(CONFIRMATION), CERTIFICATE),
        (None, sns_signed({**CONFIRMATION, "Type": "UnsubscribeConfirmation"}), CERTIFICATE),
        (WRONG, {**sns_signed(NOTIFICATION), "Message": '{"eventType":"Bounce"}'}, CERTIFICATE),
        (WRONG, {**sns_signed(NOTIFICATION), "SignatureVersion": "1"}, CERTIFICATE),
        (WRONG, {**sns_signed(NOTIFICATION), "Signature": "not Base64"}, CERTIFICATE),
        (WRONG, sns_signed(NOTIFICATION), certificate(rsa.generate_private_key(public_exponent=65537, key_size=2048))),
        (MISSING, NOTIFICATION, CERTIFICATE),
        (MISSING, {**sns_signed(NOTIFICATION), "Type": "Another"}, CERTIFICATE),
        (MISSING, {}, CERTIFICATE),
        ("the SignatureVersion is not 1 or 2", {**sns_signed(NOTIFICATION), "SignatureVersion": "3"}, CERTIFICATE),
        ("its TopicArn is not one of this source's", sns_signed({**NOTIFICATION, "TopicArn": "another"}), CERTIFICATE),
        ("its Message is missing", without(sns_signed(NOTIFICATION), "Message"), CERTIFICATE),
        ("the certificate of its SigningCertURL cannot be read", sns_signed(NOTIFICATION), b"<html>"),
        ("the certificate of its SigningCertURL is not valid now", sns_signed(NOTIFICATION), certificate(days=-1)),
    ],
    ids=["version 2", "version 1", "without a subject", "confirmation", "the end of a subscription", "another message",
         "another version", "no Base64", "another key", "no signature", "another type", "nothing", "unknown version",
         "a topic of somebody else", "a missing field", "no certificate", "an old certificate"],
)  # fmt: skip
def test_sns(expected: str | None, message: dict[str, Any], pem: bytes) -> None:
    assert expected == sns_problem(message, pem, [TOPIC], NOW)


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        (True, "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-12345abcde.pem"),
        (True, "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-12345abcde.pem"),
        (False, "http://sns.us-east-1.amazonaws.com/SimpleNotificationService-12345abcde.pem"),
        (False, "https://sns.us-east-1.amazonaws.com.evil.example/SimpleNotificationService-1.pem"),
        (False, "https://evil.example/sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem"),
        (False, "https://sns.us-east-1.amazonaws.com@evil.example/SimpleNotificationService-1.pem"),
        (False, "https://sns.us-east-1.amazonaws.com:8443/SimpleNotificationService-1.pem"),
        (False, "https://sns.us-east-1.amazonaws.com\\@evil.example/SimpleNotificationService-1.pem"),
        (False, "https://snsxus-east-1.amazonaws.com/SimpleNotificationService-1.pem"),
        (False, "https://bucket.s3.amazonaws.com/SimpleNotificationService-1.pem"),
        (False, "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem?x=/y"),
        (False, "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem#"),
        (False, "https://sns.us-east-1.amazonaws.com/../SimpleNotificationService-1.pem"),
        (False, "https://sns.us-east-1.amazonaws.com/another.pem"),
        (False, "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem\r\nHost: a"),
        (False, "https://[::1/SimpleNotificationService-1.pem"),
        (False, "http://169.254.169.254/latest/meta-data"),
        (False, ["https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem"]),
        (False, None),
    ],
)  # fmt: skip
def test_a_certificate_is_fetched_from_amazon_only(allowed: bool, url: object) -> None:
    found = sns_certificate_url({"SigningCertURL": url})

    assert found == (url if allowed else None)


def test_a_subscription_is_confirmed_at_amazon_only() -> None:
    assert sns_confirmation_url(CONFIRMATION) == CONFIRMATION["SubscribeURL"]
    assert (
        sns_confirmation_url({**CONFIRMATION, "SubscribeURL": "https://10.0.0.1/?Action=ConfirmSubscription"}) is None
    )
    assert sns_confirmation_url({**CONFIRMATION, "Type": "UnsubscribeConfirmation"}) is None
    assert sns_confirmation_url(json.loads("{}")) is None
