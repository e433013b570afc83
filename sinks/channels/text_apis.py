"""Text messages over the APIs of Twilio, Telegram, Messenger and WhatsApp.

Sources: Twilio, *Messages resource* and *Error and warning dictionary*; Telegram, *Bot API, sendMessage* and *Making
requests*; Meta, *Send API* and *Error codes* of the Messenger Platform; Meta, *Messages* and *Error codes* of the
WhatsApp Business Platform. None of them drops a repeat, so a message whose answer never came is in doubt.
"""

from __future__ import annotations

import base64
from urllib.parse import urlencode

import orjson

from schemas.delivery.outbound import OutboundMessage, SendResult
from schemas.delivery.providers import Messenger, Twilio, WhatsAppCloud
from sinks.channels.http_calls import Answer, ProviderApi
from sinks.channels.tracking_headers import message_facts

_JSON = {"Content-Type": "application/json"}
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}

_TWILIO_GONE = frozenset({21211, 21214, 21217, 21421, 21614, 63003})
"""The number is none, or none that can get such messages."""
_TWILIO_LATER = frozenset({20429, 21611, 63018, 63038})
"""Too many requests; the queue is full; rate limits."""
_META_LATER = frozenset({4, 80007, 130429, 131048, 131056, 133016, 613, 1200, 2, 131016, 131000, 1})
"""Rate limits of an app, an account, a number and a pair of people; and what Meta itself calls temporary."""
_WHATSAPP_GONE = frozenset({131026, 131021, 133010})
"""The receiver is no WhatsApp number, or the sender itself."""
_MESSENGER_GONE = frozenset({551, 1545041})
"""The person is not available any more: they have blocked the page, or left."""
_MESSENGER_WINDOW_SUBCODE = 2018278
_TELEGRAM_GONE = ("bot was blocked by the user", "user is deactivated", "chat not found", "bot can't initiate")


class TwilioAdapter:
    """Sends SMS and WhatsApp messages by Twilio.

    Args:
        account: The account's SID.
        token: Its auth token.
        rules: The senders, and where reports go.
        base_url: Where the API is.
    """

    def __init__(self, account: str, token: str, rules: Twilio, *, base_url: str = "https://api.twilio.com") -> None:
        basic = base64.b64encode(f"{account}:{token}".encode()).decode()
        self._headers = {**_FORM, "Authorization": f"Basic {basic}"}
        self._path = f"/2010-04-01/Accounts/{account}/Messages.json"
        self._rules = rules
        self._api = ProviderApi(base_url)

    async def send(self, message: OutboundMessage, now_ms: int) -> SendResult:
        """Make one attempt."""
        by_whatsapp = message.channel == "whatsapp"
        sender = self._rules.whatsapp_sender if by_whatsapp else self._rules.sender
        if not sender:
            return SendResult("refused", "providers.twilio has no whatsapp_sender")
        kind, value = message.address.get("type", ""), message.address.get("value", "")
        number = value if value.startswith("+") or kind == "whatsapp_user_id" else f"+{value}"
        prefix = "whatsapp:" if by_whatsapp else ""
        fields = {
            "To": prefix + number,
            ("MessagingServiceSid" if sender.startswith("MG") else "From"): (
                sender if sender.startswith("MG") else prefix + sender
            ),
            "Body": _text(message),
        }
        if self._rules.reports:
            fields["StatusCallback"] = f"{self._rules.reports}?{urlencode(message_facts(message.key, message.data))}"
        answer = await self._api.post(self._path, urlencode(fields).encode(), self._headers, now_ms)
        if isinstance(answer, SendResult):
            return answer
        code = answer.body.get("code") if answer.status >= 400 else None
        if code in _TWILIO_GONE:
            return SendResult("bounced", answer.detail)
        if code in _TWILIO_LATER:
            return SendResult("retry", answer.detail, answer.retry_after_ms)
        return answer.result()

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()


class TelegramAdapter:
    """Sends messages of a Telegram bot.

    Args:
        token: The bot's token.
        base_url: Where the API is.
    """

    def __init__(self, token: str, *, base_url: str = "https://api.telegram.org") -> None:
        self._path = f"/bot{token}/sendMessage"
        self._api = ProviderApi(base_url)

    async def send(self, message: OutboundMessage, now_ms: int) -> SendResult:
        """Make one attempt."""
        body = {"chat_id": message.address.get("value", ""), "text": _text(message)}
        answer = await self._api.post(self._path, orjson.dumps(body), _JSON, now_ms)
        if isinstance(answer, SendResult):
            return answer
        said = str(answer.body.get("description") or "").lower()
        if answer.status in (400, 403) and any(words in said for words in _TELEGRAM_GONE):
            return SendResult("bounced", answer.detail)
        if answer.status == 429:
            parameters = answer.body.get("parameters")
            wait_s = parameters.get("retry_after", 0) if isinstance(parameters, dict) else 0
            wait = wait_s * 1000 if isinstance(wait_s, int) else 0
            return SendResult("retry", answer.detail, max(wait, answer.retry_after_ms))
        return answer.result()

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()


class MessengerAdapter:
    """Sends messages of a Facebook page: only within 24 hours of the person's last message, as Messenger has it.

    Args:
        token: The page's access token.
        rules: The version of the API.
        base_url: Where the API is.
    """

    def __init__(self, token: str, rules: Messenger, *, base_url: str = "https://graph.facebook.com") -> None:
        self._headers = {**_JSON, "Authorization": f"Bearer {token}"}
        self._path = f"/{rules.version}/me/messages"
        self._api = ProviderApi(base_url)

    async def send(self, message: OutboundMessage, now_ms: int) -> SendResult:
        """Make one attempt."""
        body = {
            "recipient": {"id": message.address.get("value", "")},
            "messaging_type": "UPDATE",
            "message": {"text": _text(message), "metadata": message.key},
        }
        answer = await self._api.post(self._path, orjson.dumps(body), self._headers, now_ms)
        return answer if isinstance(answer, SendResult) else _meta_result(answer, _MESSENGER_GONE)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()


class WhatsAppCloudAdapter:
    """Sends messages by WhatsApp's Cloud API: an approved template, or free text within 24 hours of an answer.

    Args:
        token: An access token that may send.
        rules: The sending number, and the approved templates.
        base_url: Where the API is.
    """

    def __init__(self, token: str, rules: WhatsAppCloud, *, base_url: str = "https://graph.facebook.com") -> None:
        self._headers = {**_JSON, "Authorization": f"Bearer {token}"}
        self._path = f"/{rules.version}/{rules.phone_number_id}/messages"
        self._rules = rules
        self._api = ProviderApi(base_url)

    async def send(self, message: OutboundMessage, now_ms: int) -> SendResult:
        """Make one attempt."""
        by_user_id = message.address.get("type") == "whatsapp_user_id"
        body = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            ("recipient" if by_user_id else "to"): message.address.get("value", "").lstrip("+"),
            "biz_opaque_callback_data": urlencode(message_facts(message.key, message.data))[:512],
            **self._content(message),
        }
        answer = await self._api.post(self._path, orjson.dumps(body), self._headers, now_ms)
        return answer if isinstance(answer, SendResult) else _meta_result(answer, _WHATSAPP_GONE)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    def _content(self, message: OutboundMessage) -> dict[str, object]:
        approved = self._rules.templates.get(str(message.data.get("template")))
        if approved is None:
            return {"type": "text", "text": {"body": _text(message), "preview_url": True}}
        ours = message.rendered.language if message.rendered else ""
        language = approved.languages.get(ours) or ours.replace("-", "_") or "en"
        template: dict[str, object] = {"name": approved.name, "language": {"code": language}}
        if approved.has_text:
            # WhatsApp takes no line breaks in a variable.
            parameter = {"type": "text", "text": " ".join(_text(message).split())}
            template["components"] = [{"type": "body", "parameters": [parameter]}]
        return {"type": "template", "template": template}


def _meta_result(answer: Answer, gone: frozenset[int]) -> SendResult:
    error = answer.body.get("error")
    if not isinstance(error, dict):
        return answer.result()
    code, subcode = error.get("code"), error.get("error_subcode")
    if code in gone or subcode in gone:
        return SendResult("bounced", answer.detail)
    if subcode == _MESSENGER_WINDOW_SUBCODE or code == 131047:
        return SendResult("refused", f"more than 24 hours since the person's last message; {answer.detail}")
    if code in _META_LATER and answer.status < 500:
        return SendResult("retry", answer.detail, answer.retry_after_ms)
    return answer.result()


def _text(message: OutboundMessage) -> str:
    """Return the text, with the link of the message below it if it is not in the text already."""
    rendered = message.rendered
    if rendered is None:
        return ""
    if rendered.link and rendered.link not in rendered.text:
        return f"{rendered.text}\n{rendered.link}"
    return rendered.text
