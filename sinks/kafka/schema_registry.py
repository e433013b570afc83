"""Client of a schema registry with Confluent's interface: Confluent's own, Karapace, Apicurio's `ccompat`, Redpanda's.

Two kinds of answer are told apart: "no such schema" is an answer; anything else but a schema means that the registry
does not work now, a wrong password included, and the caller tries again.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Collection
from typing import Any
from urllib.parse import quote

import aiohttp

from schemas.intake.registered_schema import NamedSchema, RegisteredSchema, SchemaKey

TIMEOUT_S = 10.0
CONCURRENT_REQUESTS = 8
MAX_REFERENCES = 200

_UNKNOWN = frozenset({40401, 40402, 40403})  # subject, version, schema
_ACCEPT = "application/vnd.schemaregistry.v1+json, application/json"


class RegistryDown(Exception):  # noqa: N818 - a state of the registry
    """The registry does not answer, or not with a schema."""


class UnregisteredError(Exception):
    """The registry knows no such schema."""


class SchemaRegistryClient:
    """Fetches and registers schemas. The connection opens with the first request.

    Args:
        url: The registry's address; several of its nodes comma-separated, tried in order.
        auth: `user:password`; empty: none.
    """

    def __init__(self, url: str, auth: str = "") -> None:
        self._urls = [one.strip().rstrip("/") for one in url.split(",") if one.strip()]
        self._headers = {"Accept": _ACCEPT}
        if auth:
            self._headers["Authorization"] = f"Basic {b64encode(auth.encode()).decode()}"
        self._requests = asyncio.Semaphore(CONCURRENT_REQUESTS)
        self._session: aiohttp.ClientSession | None = None

    async def schemas(self, ids: Collection[SchemaKey]) -> dict[SchemaKey, RegisteredSchema]:
        """Return the schemas of some ids or GUIDs; one that the registry does not know is left out.

        Raises:
            RegistryDown: It does not answer.
        """
        wanted = list(ids)
        found = await asyncio.gather(*(self._schema(one) for one in wanted))
        return {id_: schema for id_, schema in zip(wanted, found, strict=True) if schema is not None}

    async def register(self, subject: str, schema: str) -> int:
        """Register a JSON Schema under a subject; the same again is harmless.

        Returns:
            Its id.

        Raises:
            RegistryDown: The registry does not answer, or refuses the schema.
        """
        body = {"schemaType": "JSON", "schema": schema}
        answer = await self._request("POST", f"/subjects/{quote(subject, safe='')}/versions", body)
        return int(answer["id"])

    async def subjects(self) -> int:
        """Return how many subjects the registry has.

        Raises:
            RegistryDown: It does not answer.
        """
        return len(await self._request("GET", "/subjects"))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _schema(self, id_: SchemaKey) -> RegisteredSchema | None:
        try:
            answer = await self._read(f"/schemas/{'ids' if isinstance(id_, int) else 'guids'}/{id_}")
            references: dict[str, NamedSchema] = {}
            await self._add_references(answer, references, 0)
        except UnregisteredError:
            return None
        return RegisteredSchema(_kind(answer), answer["schema"], tuple(references.values()))

    async def _add_references(self, answer: dict[str, Any], found: dict[str, NamedSchema], depth: int) -> None:
        """Add the schemas that one refers to, each after those that it refers to itself."""
        for reference in answer.get("references") or ():
            name = reference["name"]
            if name in found:
                continue
            if len(found) >= MAX_REFERENCES or depth > MAX_REFERENCES:
                raise UnregisteredError(name)
            path = f"/subjects/{quote(reference['subject'], safe='')}/versions/{int(reference['version'])}"
            inner = await self._read(path)
            await self._add_references(inner, found, depth + 1)
            found[name] = NamedSchema(name, inner["schema"])

    async def _read(self, path: str) -> dict[str, Any]:
        """Read a schema; one of Protobuf as its compiled form, which needs no parser of `.proto` files."""
        answer: dict[str, Any] = await self._request("GET", path)
        if _kind(answer) == "PROTOBUF":
            answer = await self._request("GET", f"{path}?format=serialized")
        return answer

    async def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send a request to the first node that answers."""
        down: RegistryDown | None = None
        for url in self._urls:
            try:
                return await self._answer(method, url + path, body)
            except RegistryDown as error:
                down = error
        raise down or RegistryDown("THROUGHLINE_SCHEMA_REGISTRY_URL is empty")

    async def _answer(self, method: str, url: str, body: dict[str, Any] | None) -> Any:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout, headers=self._headers)
        try:
            async with self._requests, self._session.request(method, url, json=body) as response:
                status, text = response.status, await response.text()
        except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError, ValueError) as error:
            raise RegistryDown(f"{type(error).__name__} {error}".strip()) from error
        try:
            answer = json.loads(text)
        except ValueError:
            answer = None
        if status == 200 and isinstance(answer, list):
            return answer
        if isinstance(answer, dict):
            if status == 404 and answer.get("error_code") in _UNKNOWN:
                raise UnregisteredError(url)
            if status == 200 and (isinstance(answer.get("schema"), str) or isinstance(answer.get("id"), int)):
                return answer
        message = answer.get("message") if isinstance(answer, dict) else "no answer of a schema registry"
        raise RegistryDown(f"{status} {str(message)[:200]}")


def _kind(answer: dict[str, Any]) -> str:
    return str(answer.get("schemaType") or "AVRO")
