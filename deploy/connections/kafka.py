"""Kafka's connection for both client libraries, from the same settings: librdkafka (confluent-kafka) and aiokafka."""

from __future__ import annotations

import base64
import ssl
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deploy.settings import Settings

TOKEN_TIMEOUT_S = 10.0
TOKEN_MARGIN_S = 60.0
"""A token is asked for anew so long before its end, or after half of its life if that is shorter."""


def kafka_connection(settings: Settings) -> dict[str, Any]:
    """Return librdkafka's properties of a connection: of every producer, consumer and admin client of ours."""
    found: dict[str, Any] = {
        "bootstrap.servers": settings.kafka_bootstrap,
        "security.protocol": settings.kafka_security_protocol,
        "log_level": 0,  # what it would log, errors say
    }
    if _has_tls(settings):
        found["ssl.endpoint.identification.algorithm"] = settings.kafka_ssl_endpoint_identification_algorithm
        found |= {
            "ssl.ca.location": settings.kafka_ssl_ca_location,
            "ssl.certificate.location": settings.kafka_ssl_certificate_location,
            "ssl.key.location": settings.kafka_ssl_key_location,
            "ssl.key.password": settings.kafka_ssl_key_password.get_secret_value(),
        }
    if settings.kafka_sasl_mechanism == "OAUTHBEARER":
        found |= {
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.method": "oidc",
            "sasl.oauthbearer.token.endpoint.url": settings.kafka_sasl_oauthbearer_token_endpoint_url,
            "sasl.oauthbearer.client.id": settings.kafka_sasl_oauthbearer_client_id,
            "sasl.oauthbearer.client.secret": settings.kafka_sasl_oauthbearer_client_secret.get_secret_value(),
            "sasl.oauthbearer.scope": settings.kafka_sasl_oauthbearer_scope,
            "sasl.oauthbearer.extensions": settings.kafka_sasl_oauthbearer_extensions,
            "https.ca.location": settings.kafka_https_ca_location,
        }
    elif settings.kafka_sasl_mechanism:
        found |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_sasl_username,
            "sasl.password": settings.kafka_sasl_password.get_secret_value(),
        }
    return {name: value for name, value in found.items() if value != ""}


def faust_credentials(settings: Settings) -> Any:
    """Return what Faust hands to aiokafka for TLS and SASL; None: neither."""
    from faust.auth import OAuthCredentials, SASLCredentials, SSLCredentials

    context = tls_context(settings) if _has_tls(settings) else None
    if settings.kafka_sasl_mechanism == "OAUTHBEARER":
        return OAuthCredentials(oauth_cb=token_provider(settings), ssl_context=context)
    if settings.kafka_sasl_mechanism:
        return SASLCredentials(
            mechanism=settings.kafka_sasl_mechanism,
            username=settings.kafka_sasl_username,
            password=settings.kafka_sasl_password.get_secret_value(),
            ssl_context=context,
        )
    return None if context is None else SSLCredentials(context)


def tls_context(settings: Settings) -> ssl.SSLContext:
    """Return the TLS settings of connections to brokers, for Python's own `ssl`.

    Raises:
        OSError: A file cannot be read, or is no certificate or key.
    """
    context = ssl.create_default_context(cafile=settings.kafka_ssl_ca_location or None)
    context.check_hostname = settings.kafka_ssl_endpoint_identification_algorithm == "https"
    if settings.kafka_ssl_certificate_location:
        password = settings.kafka_ssl_key_password.get_secret_value()
        context.load_cert_chain(
            settings.kafka_ssl_certificate_location, settings.kafka_ssl_key_location or None, password or None
        )
    return context


def token_provider(settings: Settings) -> Any:
    """Return what gives aiokafka its tokens, as librdkafka gets its own: OpenID Connect, client credentials."""
    import aiohttp
    from aiokafka.abc import AbstractTokenProvider

    class TokenProvider(AbstractTokenProvider):  # type: ignore[misc] # aiokafka is not typed
        """Asks the token endpoint, and keeps a token until shortly before its end."""

        def __init__(self) -> None:
            self._token = ""
            self._renew_at = 0.0

        async def token(self) -> str:
            """Return a token that is valid.

            Raises:
                ConnectionError: The endpoint gives none; the message says why, without a secret.
            """
            if time.monotonic() >= self._renew_at:
                self._token, lifetime_s = await self._ask()
                self._renew_at = time.monotonic() + max(lifetime_s / 2, lifetime_s - TOKEN_MARGIN_S)
            return self._token

        def extensions(self) -> dict[str, str]:
            """Return the extensions that are sent with a token."""
            pairs = filter(None, settings.kafka_sasl_oauthbearer_extensions.split(","))
            return {key.strip(): value.strip() for key, _, value in (pair.partition("=") for pair in pairs)}

        async def _ask(self) -> tuple[str, float]:
            secret = settings.kafka_sasl_oauthbearer_client_secret.get_secret_value()
            form = {"grant_type": "client_credentials"}
            if settings.kafka_sasl_oauthbearer_scope:
                form["scope"] = settings.kafka_sasl_oauthbearer_scope
            pair = base64.b64encode(f"{settings.kafka_sasl_oauthbearer_client_id}:{secret}".encode()).decode()
            context = ssl.create_default_context(cafile=settings.kafka_https_ca_location or None)
            url = settings.kafka_sasl_oauthbearer_token_endpoint_url
            timeout = aiohttp.ClientTimeout(total=TOKEN_TIMEOUT_S)
            try:
                async with (
                    aiohttp.ClientSession(timeout=timeout, headers={"Authorization": f"Basic {pair}"}) as session,
                    session.post(url, data=form, ssl=context) as response,
                ):
                    if response.status != 200:
                        raise ConnectionError(f"the token endpoint {url} answers {response.status}")
                    answer = await response.json(content_type=None)
                    return str(answer["access_token"]), float(answer.get("expires_in", 300))
            except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError) as error:
                raise ConnectionError(f"the token endpoint {url} gives no token: {error!r}") from error

    return TokenProvider()


def _has_tls(settings: Settings) -> bool:
    return settings.kafka_security_protocol.endswith("SSL")
