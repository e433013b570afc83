"""Who is let in: tokens, signed sessions, rights by roles, and where a sign-in may lead."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from deploy.console.access import ConsoleDefinitions, SignInTokens, TokenError
from deploy.console.sessions import MAX_FAILURES, SESSION_MS, WITHIN_MS, Sessions, SignInLimit
from deploy.console.sign_in import local_path

NOW = 1_795_000_000_000


def test_a_session_is_read_until_it_ends_and_by_the_same_secret_alone() -> None:
    sessions = Sessions("secret")
    cookie = sessions.cookie(sessions.begin("ann", NOW, ("marketing",)))
    found = sessions.read(cookie, NOW + SESSION_MS - 1)

    assert found is not None
    assert ("ann", ("marketing",)) == (found.user, found.groups)
    assert [None] * 3 == [
        sessions.read(cookie, NOW + SESSION_MS),
        Sessions("another").read(cookie, NOW),
        Sessions("").read(cookie, NOW),
    ]


@pytest.mark.parametrize("cookie", ["", ".", "x", "x.y", "bnVsbA.", "ünï.cödé", "x.\udcff", "\udcff.y"])
def test_a_cookie_that_is_not_ours_is_no_session(cookie: str) -> None:
    assert Sessions("secret").read(cookie, NOW) is None


def test_what_is_signed_for_one_purpose_is_no_session() -> None:
    sessions = Sessions("secret")

    assert sessions.read(sessions.signed(["ann", [], NOW + 1, "n"], "something else"), NOW) is None


def test_a_form_is_of_its_session_alone() -> None:
    sessions = Sessions("secret")
    one, other = sessions.begin("ann", NOW), sessions.begin("ann", NOW)

    assert (True, False, False) == (
        sessions.is_form_token(one, sessions.form_token(one)),
        sessions.is_form_token(other, sessions.form_token(one)),
        sessions.is_form_token(one, ""),
    )
    assert not sessions.is_form_token(one, "\udcff")


def test_an_address_waits_after_too_many_failures_and_others_do_not() -> None:
    limit = SignInLimit()
    for _ in range(MAX_FAILURES):
        assert 0 == limit.blocked_s("here", NOW)
        limit.failed("here", NOW)

    assert (WITHIN_MS // 1000, 0, 0) == (
        limit.blocked_s("here", NOW),
        limit.blocked_s("there", NOW),
        limit.blocked_s("here", NOW + WITHIN_MS),
    )


def test_tokens_sign_in_their_names() -> None:
    tokens = SignInTokens("ann=0123456789abcdef, bob=fedcba9876543210,ann=second-token-of-ann")

    assert ["ann", "bob", "ann", "", ""] == [
        tokens.name_of(one)
        for one in ("0123456789abcdef", "fedcba9876543210", "second-token-of-ann", "", "0123456789abcdeF")
    ]


@pytest.mark.parametrize("written", ["0123456789abcdef", "=0123456789abcdef", "ann=2short"])
def test_a_wrong_list_of_tokens_is_refused_without_quoting_them(written: str) -> None:
    with pytest.raises(TokenError) as refused:
        SignInTokens(written)

    assert written.rpartition("=")[2] not in str(refused.value)


def test_rights_come_from_the_users_roles_their_groups_or_from_everybody() -> None:
    definitions = ConsoleDefinitions.model_validate(
        {
            "roles": {"analyst": ["view-numbers"], "privacy": ["view-people", "erase"]},
            "users": {"ann": ["privacy"]},
            "groups": {"data": ["analyst"]},
            "everybody": [],
        }
    )

    assert [{"view-people", "erase"}, {"view-people", "erase", "view-numbers"}, {"view-numbers"}, set()] == [
        definitions.rights("ann"),
        definitions.rights("ann", ("data",)),
        definitions.rights("bob", ("data", "other")),
        definitions.rights("bob"),
    ]


def test_a_role_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValidationError, match="operators: no such role"):
        ConsoleDefinitions.model_validate({"roles": {"operator": ["edit"]}, "users": {"ann": ["operators"]}})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/people?q=x", "/people?q=x"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example/", "/"),
        ("", "/"),
        ("/a\nb", "/"),
        ("//[", "/"),
    ],
)
def test_a_sign_in_leads_to_a_page_of_this_console_alone(path: str, expected: str) -> None:
    assert expected == local_path(path)
