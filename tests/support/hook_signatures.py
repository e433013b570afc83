"""Signs requests as message providers do, with keys of the tests' own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

SENDGRID_KEY = ec.generate_private_key(ec.SECP256R1())
SNS_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
TOPIC = "arn:aws:sns:eu-central-1:123456789012:ses-events"
JSON = {"Content-Type": "application/json"}


class SignedHook(NamedTuple):
    """A request as a provider sends it: its body and headers."""

    body: bytes
    headers: dict[str, str]


def base64_text(raw: bytes) -> str:
    """Base64 without line ends."""
    return base64.b64encode(raw).decode()


def sendgrid(content: Any, _: str = "") -> SignedHook:
    """Sign timestamp and body with ECDSA."""
    body, timestamp = orjson.dumps(content) + b"\r\n", str(int(time.time()))
    signature = SENDGRID_KEY.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    return SignedHook(
        body,
        {
            **JSON,
            "X-Twilio-Email-Event-Webhook-Signature": base64_text(signature),
            "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
        },
    )


def mailgun(content: Any, _: str = "", key: str = "mailgun-key") -> SignedHook:
    """Sign timestamp and token, inside the body; the token is made of the content."""
    timestamp = str(int(time.time()))
    token = hashlib.sha256(orjson.dumps(content["event-data"])).hexdigest()[:50]
    digest = hmac.new(key.encode(), (timestamp + token).encode(), hashlib.sha256).hexdigest()
    signature = {"timestamp": timestamp, "token": token, "signature": digest}
    return SignedHook(orjson.dumps({**content, "signature": signature}), JSON)


def postmark(content: Any, _: str = "") -> SignedHook:
    """Send the credentials of the address."""
    return SignedHook(orjson.dumps(content), {**JSON, "Authorization": f"Basic {base64_text(b'postmark:password')}"})


def twilio(content: Any, url: str) -> SignedHook:
    """Sign the address and the sorted fields of the form."""
    body = urlencode(content)
    signed = url + "".join(name + value for name, value in sorted(parse_qsl(body, keep_blank_values=True)))
    signature = base64_text(hmac.new(b"twilio-token", signed.encode(), hashlib.sha1).digest())
    return SignedHook(
        body.encode(),
        {"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8", "X-Twilio-Signature": signature},
    )


def whatsapp(content: Any, _: str = "") -> SignedHook:
    """Sign the body."""
    body = orjson.dumps(content)
    digest = hmac.new(b"app-secret", body, hashlib.sha256).hexdigest()
    return SignedHook(body, {**JSON, "X-Hub-Signature-256": f"sha256={digest}"})


def sns(content: Mapping[str, Any], _: str = "") -> SignedHook:
    """Sign the fields of a message, each after its name, in the order of the names."""
    unsigned = {"SignatureVersion", "Signature", "SigningCertURL", "UnsubscribeURL"}
    text = "".join(f"{name}\n{value}\n" for name, value in sorted(content.items()) if name not in unsigned)
    signature = base64_text(SNS_KEY.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))
    signed = {**content, "SignatureVersion": "2", "Signature": signature}
    return SignedHook(orjson.dumps(signed), {"Content-Type": "text/plain; charset=UTF-8"})


def sns_certificate() -> bytes:
    """The certificate of the key that signs for Amazon SNS here."""
    name, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")]), datetime.now(UTC)
    issued = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(SNS_KEY.public_key())
    issued = issued.serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    return issued.sign(SNS_KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


SIGN: dict[str, Callable[[Any, str], SignedHook]] = {
    "sendgrid": sendgrid,
    "mailgun": mailgun,
    "postmark": postmark,
    "twilio": twilio,
    "whatsapp": whatsapp,
}

SECRETS = ",".join(
    (
        "sendgrid="
        + base64_text(
            SENDGRID_KEY.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
        ),
        "mailgun=mailgun-key",
        "postmark=postmark:password",
        "twilio=twilio-token",
        "whatsapp=app-secret,whatsapp:verify_token=mine",
        f"ses={TOPIC}",
    )
)
"""`THROUGHLINE_HOOK_SECRETS` for these keys."""
