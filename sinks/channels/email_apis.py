"""E-mail over the APIs of Postmark and Amazon SES, with the same headers as over SMTP.

Sources: Postmark, *Email API* and *API overview, error codes*; Amazon SES, *SendEmail* (API version 2) and *Signature
Version 4*. Neither drops a repeat, so a message whose answer never came is in doubt.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

import orjson

from schemas.delivery.outbound import OutboundMessage, SendResult
from schemas.delivery.providers import AmazonSes, Postmark
from schemas.time import text_of_ms
from sinks.channels.http_calls import Answer, ProviderApi
from sinks.channels.smtp import mail_bytes, mail_of, unsubscribe_headers
from sinks.channels.tracking_headers import message_facts

_JSON = {"Content-Type": "application/json", "Accept": "application/json"}
_INACTIVE, _RATE_LIMITED = 406, 429
"""Postmark's codes: the receiver bounced for good or complained; too many requests."""
_SES_LATER = frozenset({"TooManyRequestsException", "LimitExceededException", "ThrottlingException", "Throttling"})


class PostmarkAdapter:
    """Sends e-mail by Postmark's API.

    Args:
        token: The server's API token.
        sender: `Shop <news@shop.example>`.
        rules: Its streams.
        reply_to: Address for replies; the sender when empty.
        base_url: Where the API is.
    """

    def __init__(
        self, token: str, sender: str, rules: Postmark, *, reply_to: str = "",
        base_url: str = "https://api.postmarkapp.com",
    ) -> None:  # fmt: skip
        self._token, self._sender, self._rules, self._reply_to = token, sender, rules, reply_to
        self._api = ProviderApi(base_url)

    async def send(self, message: OutboundMessage, now_ms: int) -> SendResult:
        """Make one attempt."""
        rendered = message.rendered
        if rendered is None:
            return SendResult("refused", "it has no text")
        transactional = message.data.get("purpose") == "transactional"
        body = {
            "From": self._sender,
            "To": message.address.get("value", ""),
            "ReplyTo": self._reply_to,
            "Subject": rendered.subject,
            "TextBody": rendered.text,
            "HtmlBody": rendered.html,
            "MessageStream": self._rules.transactional_stream if transactional else self._rules.stream,
            "Metadata": message_facts(message.key, message.data),
            "TrackOpens": False,
            "TrackLinks": "None",
            "Headers": [
                {"Name": name, "Value": value}
                for name, value in {"X-Throughline-Message-Id": message.key, **unsubscribe_headers(message)}.items()
            ],
        }
        written = orjson.dumps({name: value for name, value in body.items() if value != ""})
        answer = await self._api.post("/email", written, {**_JSON, "X-Postmark-Server-Token": self._token}, now_ms)
        if isinstance(answer, SendResult):
            return answer
        code = answer.body.get("ErrorCode", 0)
        if code == _INACTIVE:
            return SendResult("bounced", answer.detail)
        if code == _RATE_LIMITED:
            return SendResult("retry", answer.detail, answer.retry_after_ms)
        return SendResult("refused", answer.detail) if code else answer.result()

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()


class SesAdapter:
    """Sends e-mail by Amazon SES, API version 2.

    Args:
        key_id: The access key's id.
        secret_key: Its secret.
        sender: `Shop <news@shop.example>`.
        rules: Region and configuration set.
        reply_to: Address for replies; the sender when empty.
        base_url: Where the API is; empty: that of the region.
    """

    def __init__(
        self, key_id: str, secret_key: str, sender: str, rules: AmazonSes, *, reply_to: str = "", base_url: str = ""
    ) -> None:
        self._key_id, self._secret_key, self._sender = key_id, secret_key, sender
        self._rules, self._reply_to = rules, reply_to
        self._base_url = base_url or f"https://email.{rules.region}.amazonaws.com"
        self._api = ProviderApi(self._base_url)

    async def send(self, message: OutboundMessage, now_ms: int) -> SendResult:
        """Make one attempt."""
        try:
            raw = mail_bytes(mail_of(message, self._sender, self._reply_to), message)
        except (ValueError, IndexError) as error:
            return SendResult("refused", f"the message cannot be written: {error}")
        tags = message_facts(message.key, message.data)
        body = {
            "FromEmailAddress": self._sender,
            "Destination": {"ToAddresses": [message.address.get("value", "")]},
            "Content": {"Raw": {"Data": base64.b64encode(raw).decode()}},
            "EmailTags": [{"Name": name, "Value": _tag(value)} for name, value in tags.items()],
        }
        if self._rules.configuration_set:
            body["ConfigurationSetName"] = self._rules.configuration_set
        written = orjson.dumps(body)
        path = "/v2/email/outbound-emails"
        headers = signed_headers(
            self._base_url.partition("://")[2],
            path,
            written,
            self._rules.region,
            self._key_id,
            self._secret_key,
            now_ms,
        )
        answer = await self._api.post(path, written, {"Content-Type": "application/json", **headers}, now_ms)
        return answer if isinstance(answer, SendResult) else _ses_result(answer)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()


def signed_headers(
    host: str, path: str, body: bytes, region: str, key_id: str, secret_key: str, now_ms: int
) -> dict[str, str]:
    """Sign a POST of JSON to SES by AWS' Signature Version 4.

    Args:
        host: The `Host` header.
        path: The path, without a query.
        body: The body.
        region: The region.
        key_id: The access key's id.
        secret_key: Its secret.
        now_ms: The time, milliseconds since 1970.

    Returns:
        The headers to add: date, digest and signature.
    """
    at = text_of_ms(now_ms)[:19].replace("-", "").replace(":", "") + "Z"
    digest, scope = hashlib.sha256(body).hexdigest(), f"{at[:8]}/{region}/ses/aws4_request"
    signed = "host;x-amz-content-sha256;x-amz-date"
    canonical = f"POST\n{path}\n\nhost:{host}\nx-amz-content-sha256:{digest}\nx-amz-date:{at}\n\n{signed}\n{digest}"
    to_sign = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = signing_key(secret_key, *scope.split("/")[:3])
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    authorization = f"AWS4-HMAC-SHA256 Credential={key_id}/{scope}, SignedHeaders={signed}, Signature={signature}"
    return {"X-Amz-Date": at, "X-Amz-Content-Sha256": digest, "Authorization": authorization}


def signing_key(secret_key: str, day: str, region: str, service: str) -> bytes:
    """Return the key that signs requests of a day to a service of a region."""
    key = f"AWS4{secret_key}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key


def _ses_result(answer: Answer) -> SendResult:
    kind = str(answer.body.get("__type") or "").rpartition("#")[2]
    if kind in _SES_LATER or (answer.status == 400 and "Maximum sending rate" in answer.text):
        return SendResult("retry", answer.detail, answer.retry_after_ms)
    return answer.result()


def _tag(value: str) -> str:
    return "".join(one if one.isascii() and (one.isalnum() or one in "_-.@") else "_" for one in value)
