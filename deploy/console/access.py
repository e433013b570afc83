"""Who may do what: rights, roles and users of `console.yaml`, and the tokens by which people sign in."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

Right = Literal["view-numbers", "view-people", "edit", "publish", "erase"]

RIGHTS: Mapping[Right, str] = {
    "view-numbers": "look at figures, definitions and settings",
    "view-people": "look at people, live events and dead letters",
    "edit": "pause and resume journeys, send tests, suppress people",
    "publish": "stop journeys, replay dead letters, export lists",
    "erase": "erase people and export all their data",
}
"""What each right allows, as the rest of a sentence."""

MIN_TOKEN_CHARACTERS = 16


class ConsoleDefinitions(BaseModel):
    """The file `console.yaml`.

    Attributes:
        roles: Names of roles, with their rights.
        users: Roles by name of the sign-in.
        groups: Roles by group of the identity provider.
        everybody: Roles of whoever can sign in and is in none of the two.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    roles: dict[str, tuple[Right, ...]] = {}
    users: dict[str, tuple[str, ...]] = {}
    groups: dict[str, tuple[str, ...]] = {}
    everybody: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _known_roles(self) -> ConsoleDefinitions:
        named = [
            *self.everybody,
            *(role for found in (self.users, self.groups) for one in found.values() for role in one),
        ]
        if unknown := sorted({*named} - self.roles.keys()):
            raise ValueError(f"{', '.join(unknown)}: no such role; there are {', '.join(self.roles) or 'none'}")
        return self

    def rights(self, name: str, groups: tuple[str, ...] = ()) -> frozenset[Right]:
        """Return the rights of a user; empty: none, so that nothing is shown.

        Args:
            name: The name of the sign-in.
            groups: Groups of the user, by the identity provider.
        """
        roles = [*self.users.get(name, ()), *(role for group in groups for role in self.groups.get(group, ()))]
        return frozenset(right for role in roles or self.everybody for right in self.roles[role])


class TokenError(ValueError):
    """`THROUGHLINE_CONSOLE_TOKENS` is not what it should be; the message has no token in it."""


class SignInTokens:
    """The tokens by which people sign in.

    Args:
        written: `name=token`, comma-separated; a name may have several.

    Raises:
        TokenError: A part has another form, or a token can be guessed.
    """

    def __init__(self, written: str) -> None:
        self._names: dict[bytes, str] = {}
        for number, part in enumerate(filter(None, map(str.strip, written.split(","))), 1):
            name, separator, token = part.partition("=")
            if not separator or not name.strip():
                raise TokenError(f"THROUGHLINE_CONSOLE_TOKENS: part {number} is not name=token")
            if len(token.strip()) < MIN_TOKEN_CHARACTERS:
                raise TokenError(
                    f"THROUGHLINE_CONSOLE_TOKENS: the token of {name.strip()} is shorter than "
                    f"{MIN_TOKEN_CHARACTERS} characters"
                )
            self._names[sha256(token.strip().encode()).digest()] = name.strip()

    def __bool__(self) -> bool:
        return bool(self._names)

    def name_of(self, token: str) -> str:
        """Return the name that a token signs in; empty: none. The time it takes tells nothing of the tokens."""
        digest, found = sha256(token.encode()).digest(), ""
        for known, name in self._names.items():
            if hmac.compare_digest(known, digest):
                found = name
        return found
