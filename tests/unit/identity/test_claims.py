"""From identifiers to claims: spellings, placeholders, order, hashes; and the policy's own rules."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import phonenumbers
import pytest
import yaml
from pydantic import ValidationError

from processors.identity import phones
from processors.identity.claims import candidate_profile, claim, claims, event_key, hash_identifier, origin_key
from schemas.events.touchpoint import read
from schemas.identity.policy import IdentifierRule, IdentityPolicy
from tests.support.builders import touchpoint

SECRET = b"a secret of the tests"
POLICY = IdentityPolicy()
SHIPPED = Path(__file__).parents[3] / "deploy" / "definitions" / "identity.yaml"


def usable(identifiers: Any, policy: IdentityPolicy = POLICY, source: str = "shop") -> list[tuple[str, str]]:
    _, clear = claims(read(touchpoint(identifiers=identifiers, source=source)), policy, SECRET)
    return [(one["type"], one["value"]) for one in clear]


def identifier_hashes(identifiers: Any) -> list[bytes]:
    found, _ = claims(read(touchpoint(identifiers=identifiers)), POLICY, SECRET)
    return [one.identifier_hash for one in found]


@pytest.mark.parametrize(
    ("kind", "written", "expected"),
    [
        ("email", " Ann@Shop.Example ", "ann@shop.example"),
        ("email", "ann@shop.example", "ann@shop.example"),
        ("email", "a.n.n+news@shop.example", "a.n.n+news@shop.example"),
        ("email", "Jose\u0301@shop.example", "jos\u00e9@shop.example"),
        ("email", "JOS\u00c9@SHOP.EXAMPLE", "jos\u00e9@shop.example"),
        ("phone", "+14155550132", "+14155550132"),
        ("phone", "+1 (415) 555-0132", "+14155550132"),
        ("phone", "415.555.0132", "+14155550132"),
        ("phone", "(415) 555 0132", "+14155550132"),
        ("phone", "1-415-555-0132", "+14155550132"),
        ("phone", "011 44 20 7183 8750", "+442071838750"),
        ("phone", "+44 (0) 20 7183 8750", "+442071838750"),
        ("phone", "+4402071838750", "+442071838750"),
        ("phone", "0044 20 7183 8750", "+442071838750"),
        ("phone", "+39 06 1234 5678", "+390612345678"),
        ("whatsapp_id", "442071838750", "+442071838750"),
        ("whatsapp_id", "whatsapp:+442071838750", "+442071838750"),
        ("whatsapp_id", "442071838750@s.whatsapp.net", "+442071838750"),
        ("whatsapp_id", "+44 20 7183 8750", "+442071838750"),
        ("user_id", " Ab-7 ", "Ab-7"),
        ("user_id", "ab-7", "ab-7"),
        ("telegram_id", "123456789", "123456789"),
        ("messenger_id", " 24001 ", "24001"),
        ("club_card", "K 7", "K 7"),
    ],
)
def test_a_spelling_becomes_the_one_normal_form(kind: str, written: str, expected: str) -> None:
    assert [(kind, expected)] == usable({kind: written})


@pytest.mark.parametrize(
    "placeholder",
    [
        "null", "NULL", " null ", '"null"', "'null'", "None", "nil", "undefined", "Anonymous", "guest", "NaN", "true",
        "False", "0", "000000", "-", "--", "-1", "[object Object]", "", "   ", "unknown", "n/a", "N/A", "test",
        "(none)", "00000000-0000-0000-0000-000000000000", "distinct_id", "user_id", "{}", "0.0", "?", "+000",
        "\u00a0null", "\u200b", "null\ufeff", "\u201cnull\u201d", "{{ user_id }}", "${user.id}", "*|EMAIL|*", "%EMAIL%",
        "<email>", "ffffffff-ffff-ffff-ffff-ffffffffffff",
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("kind", ["user_id", "anonymous_id", "device_id", "email", "phone", "club_card"])
def test_a_placeholder_identifies_nobody(kind: str, placeholder: str) -> None:
    assert [] == usable({kind: placeholder})


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        ("email", "ann"),
        ("email", "ann@shop"),
        ("email", "@shop.example"),
        ("email", "ann@shop.example, bob@shop.example"),
        ("email", "ann smith@shop.example"),
        ("email", f"ann@{'a' * 250}.example"),
        ("phone", "call me"),
        ("phone", "12345"),
        ("phone", "+999 123 456 789"),
        ("phone", "+1 415 555"),
        ("phone", "000 000 0000"),
        ("phone", "(111) 111-1111"),
        ("phone", "+11111111111"),
        ("phone", "+1 415 555 0132 ext. 12"),
        ("whatsapp_id", "ann"),
        ("device_id", "9774D56D682E549C"),
        ("device_id", "02:00:00:00:00:00"),
    ],
)
def test_what_is_no_address_of_its_kind_is_left_out_alone(kind: str, written: str) -> None:
    assert [("anonymous_id", "browser-7")] == usable({kind: written, "anonymous_id": "browser-7"})


def test_values_that_only_look_like_placeholders_are_kept() -> None:
    kept = [("user_id", "0123"), ("email", "test@shop.example"), ("anonymous_id", "nullable"), ("club_card", "test7")]

    assert sorted(kept) == sorted(usable([{"type": kind, "value": value} for kind, value in kept]))


def test_a_quick_answer_for_a_phone_number_is_the_librarys_answer() -> None:
    chance = random.Random(5)
    numbers = [
        phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        for region in sorted(phonenumbers.SUPPORTED_REGIONS)
        for kind in (phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.MOBILE)
        if (number := phonenumbers.example_number_for_type(region, kind)) is not None
    ]
    numbers += ["+" + "".join(chance.choices("123456789", k=2)) + chance.choice(numbers)[3:] for _ in range(2000)]
    quick = [number for number in numbers if phones._is_plain_e164(number)]

    parsed = [phonenumbers.parse(number, "US") for number in quick]

    assert quick == [phonenumbers.format_number(one, phonenumbers.PhoneNumberFormat.E164) for one in parsed]
    assert {phonenumbers.ValidationResult.IS_POSSIBLE} == set(map(phonenumbers.is_possible_number_with_reason, parsed))
    assert len(quick) > 400


def test_a_number_without_a_country_code_belongs_to_the_default_region() -> None:
    german = IdentityPolicy(default_region="DE")

    assert [("phone", "+4930901820")] == usable({"phone": "030 901820"}, german)


def test_claims_are_in_the_order_of_strength_whatever_the_order_of_the_event() -> None:
    strongest_first = [
        "user_id", "crm_id", "loyalty_id", "email", "phone", "messenger_id", "telegram_id", "club_card", "device_id",
        "push_token", "anonymous_id",
    ]  # fmt: skip
    values = {kind: f"{kind}-7" for kind in strongest_first} | {"email": "a@b.example", "phone": "+14155550132"}
    event = read(touchpoint(identifiers=dict(sorted(values.items()))))

    found, clear = claims(event, POLICY, SECRET)

    assert strongest_first == [one.type for one in found]
    assert strongest_first == [one["type"] for one in clear]


def test_the_same_identifier_in_two_spellings_is_one_claim_and_verified_if_one_of_them_is() -> None:
    event = read(
        touchpoint(
            identifiers=[
                {"type": "email", "value": "ann@shop.example", "verified": True},
                {"type": "email", "value": "ANN@shop.example"},
            ]
        )
    )

    found, clear = claims(event, POLICY, SECRET)

    assert 1 == len(found)
    assert [{"type": "email", "value": "ann@shop.example", "verified": True}] == clear


def test_a_whatsapp_number_is_the_same_claim_as_the_phone_number() -> None:
    assert identifier_hashes({"phone": "+1 415 555 0132"}) == identifier_hashes({"whatsapp_id": "14155550132"})


def test_user_ids_differ_by_case_and_types_differ_by_name() -> None:
    four = [identifier_hashes({kind: value})[0] for kind in ("user_id", "crm_id") for value in ("ann", "Ann")]

    assert 4 == len(set(four))


def test_the_traits_of_an_identify_join_nobody() -> None:
    event = read(
        touchpoint(
            "Identify", traits={"email": "ann@shop.example", "phone": "+14155550132"}, identifiers={"user_id": "7"}
        )
    )

    assert ["user_id"] == [one.type for one in claims(event, POLICY, SECRET)[0]]


def test_an_unverified_identifier_of_a_verified_only_type_is_left_out() -> None:
    rules = tuple(
        rule.model_copy(update={"verified_only": True}) if rule.type == "email" else rule for rule in POLICY.types
    )
    strict = IdentityPolicy(types=rules)
    identifiers = [
        {"type": "email", "value": "typed@shop.example"},
        {"type": "email", "value": "proved@shop.example", "verified": True},
    ]

    assert [("email", "proved@shop.example")] == usable(identifiers, strict)


def test_an_operators_own_placeholders_are_blocked_for_their_type_alone() -> None:
    rules = tuple(
        rule.model_copy(
            update={"blocked_patterns": (r"^(test|info)@",), "blocked_values": frozenset(("till@shop.example",))}
        )
        if rule.type == "email"
        else rule
        for rule in POLICY.types
    )
    policy = IdentityPolicy(types=rules)

    assert [] == usable({"email": "Test@shop.example"}, policy)
    assert [] == usable({"email": "TILL@shop.example"}, policy)
    assert [("user_id", "test@shop.example")] == usable({"user_id": "test@shop.example"}, policy)


def test_an_operators_own_placeholders_come_on_top_of_the_shipped_ones() -> None:
    policy = IdentityPolicy(
        also_blocked_values=frozenset(("Till 7", " Jose\u0301 ")), also_blocked_patterns=("^walk-?in",)
    )

    blocked = ["till 7", "TILL 7", "walkin 12", "JOS\u00c9", "null"]

    assert [] == [name for name in blocked if usable({"user_id": name}, policy)]
    assert [("user_id", "till 8")] == usable({"user_id": "till 8"}, policy)


def test_patterns_do_not_disturb_each_other() -> None:
    policy = IdentityPolicy(also_blocked_patterns=(r"(?i)^shop-(.)\1$", r"^(.)till\1$", r"(?P<a>x)y$", r"(?P<a>z)y$"))

    assert [] == usable({"user_id": ["shop-aa", "9till9", "xy", "zy"]}, policy)
    assert [("user_id", "9till8")] == usable({"user_id": "9till8"}, policy)


def test_some_types_can_be_changed_alone() -> None:
    policy = IdentityPolicy.model_validate(
        {"types": {"loyalty_id": {"at_limit": "fifo"}, "till_id": {"limit": 3}, "device_id": None}}
    )
    shipped = [rule.type for rule in POLICY.types]

    assert (1, True, "fifo") == tuple(
        getattr(policy.rule("loyalty_id"), name) for name in ("limit", "known", "at_limit")
    )
    assert [*shipped[:9], "till_id", *shipped[9:]] == [rule.type for rule in policy.types]
    assert [rule for rule in POLICY.types if rule.type != "loyalty_id"] == [
        rule for rule in policy.types if rule.type not in ("loyalty_id", "till_id")
    ]


def test_what_an_entry_leaves_out_is_as_shipped_for_its_type() -> None:
    policy = IdentityPolicy.model_validate(
        {
            "types": [
                {"type": "email", "verified_only": True},
                {"type": "push_token", "transferable": False},
                {"type": "*"},
            ]
        }
    )

    assert POLICY.rule("email").model_copy(update={"verified_only": True}) == policy.rule("email")
    assert (False, None) == (policy.rule("push_token").transferable, policy.rule("push_token").shared_device)


def test_a_dumped_policy_is_read_again() -> None:
    assert POLICY == IdentityPolicy.model_validate(POLICY.model_dump())
    assert POLICY == IdentityPolicy.model_validate_json(POLICY.model_dump_json())


def test_a_type_has_the_policys_choice_unless_it_has_its_own() -> None:
    token, device = (POLICY.rule(kind) for kind in ("push_token", "device_id"))
    neither = IdentityPolicy(shared_device="new_anonymous", at_limit="fifo")

    assert ("last_login", "first_owner") == (POLICY.sharing(token), POLICY.sharing(device))
    assert ("last_login", "new_anonymous") == (neither.sharing(token), neither.sharing(device))
    assert "first_owner" == neither.sharing(neither.rule("email"))
    assert (False, True) == (POLICY.makes_room(device), neither.makes_room(device))
    assert not neither.makes_room(IdentifierRule(type="x", limit=None))
    assert not neither.makes_room(IdentifierRule(type="x", at_limit="reject_new"))


def test_sources_with_name_spaces_do_not_share_their_user_ids() -> None:
    policy = IdentityPolicy(namespaces={"forum": {"user_id": "forum:"}})
    identifiers = {"user_id": "7", "email": "ann@shop.example"}

    assert [("user_id", "forum:7"), ("email", "ann@shop.example")] == usable(identifiers, policy, source="forum")
    assert [("user_id", "7"), ("email", "ann@shop.example")] == usable(identifiers, policy, source="shop")


def test_an_operators_look_up_finds_the_claim_of_the_event() -> None:
    event = read(touchpoint(identifiers={"phone": "+1 415 555 0132"}))

    found, _ = claims(event, POLICY, SECRET)

    assert found == (claim("phone", "(415) 555-0132", POLICY, SECRET),)
    assert claim("phone", "nobody", POLICY, SECRET) is None


def test_an_identifier_hash_needs_the_secret_and_tells_type_from_value() -> None:
    assert hash_identifier("email", "a@b.example", b"one") != hash_identifier("email", "a@b.example", b"two")
    assert hash_identifier("ab", "c", SECRET) != hash_identifier("a", "bc", SECRET)
    assert 16 == len(hash_identifier("email", "a@b.example", SECRET))


def test_an_empty_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="THROUGHLINE_IDENTITY_SECRET"):
        hash_identifier("email", "a@b.example", b"")


def test_keys_of_events_and_records_tell_them_apart() -> None:
    assert (16, 8, 16) == (
        len(event_key("till", "e1")), len(origin_key("t", 0, 1)), len(candidate_profile("till", "e1", SECRET))
    )  # fmt: skip
    assert 4 == len({origin_key("t", 0, 1), origin_key("t", 0, 2), origin_key("t", 1, 1), origin_key("u", 0, 1)})
    assert candidate_profile("till", "e1", SECRET) != candidate_profile("till", "e2", SECRET)


def test_an_event_is_known_by_its_source_and_its_id() -> None:
    names = [("till", "17"), ("pbx", "17"), ("till", "18"), ("till1", "7")]

    assert 4 == len({event_key(*name) for name in names}) == len({candidate_profile(*name, SECRET) for name in names})
    assert event_key("till", "17") == event_key("till", "17")


def test_the_shipped_policy_file_is_the_default_policy() -> None:
    assert IdentityPolicy() == IdentityPolicy.model_validate(yaml.safe_load(SHIPPED.read_text("utf-8")))


def test_without_limits_nothing_else_of_the_policy_changes() -> None:
    free = IdentityPolicy.unlimited()

    assert ({None}, None) == ({rule.limit for rule in free.types}, free.cap)
    assert [rule.type for rule in IdentityPolicy().types] == [rule.type for rule in free.types]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"types": [IdentifierRule(type="email")]}, "one entry must be for every other type"),
        ({"types": [IdentifierRule(type="*"), IdentifierRule(type="*")]}, "more than one entry"),
        ({"types": [IdentifierRule(type="*"), IdentifierRule(type="a", same_as="b")]}, "the same as b"),
        ({"blocked_patterns": ["("]}, "not a regular expression"),
        ({"types": {"email": {"limit": 0}}}, "email.limit: Input should be greater"),
        ({"types": {"email": {"limt": 1}}}, "email.limt"),
        ({"types": {"email": 1}}, "email is 1: write the fields that differ"),
        ({"types": [{"limit": 1}]}, "type"),
        ({"default_region": "usa"}, "default_region"),
        ({"default_region": "UK"}, "'UK' is no region"),
        ({"cap": 0}, "cap"),
        ({"caps": 7}, "caps"),
        ({"at_limit": "lifo"}, "reject_new"),
        ({"shared_device": "both"}, "first_owner"),
        ({"on_sign_out": "forget"}, "new_anonymous"),
        ({"quarantine_after": 1}, "quarantine_after"),
        ({"types": [{"type": "*", "shared_device": "last_login"}]}, "not transferable"),
        ({"types": [{"type": "*", "transferable": True, "known": True}]}, "known and transferable"),
        ({"types": [{"type": "*", "limit": None, "at_limit": "fifo"}]}, "no limit"),
    ],
    ids=[
        "no entry for others",
        "type twice",
        "same as nothing",
        "bad pattern",
        "no room for a type",
        "misspelt for a type",
        "not the fields of a type",
        "no type",
        "bad region",
        "not how ISO calls it",
        "no room",
        "misspelt",
        "no such limit rule",
        "no such owner",
        "no such sign-out",
        "one refusal is not many",
        "shares what stays",
        "passes on a login",
        "room without a limit",
    ],
)
def test_a_policy_that_cannot_work_is_refused_with_the_reason(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        IdentityPolicy.model_validate(wrong)


@pytest.mark.parametrize(
    ("kind", "value", "counts"),
    [
        ("device_id", "9774d56d682e549c", False),
        ("device_id", "02:00:00:00:00:00", False),
        ("device_id", "00000000-0000-0000-0000-000000000000", False),
        ("device_id", "ffffffffffffffff", False),
        ("device_id", "11111111-1111-1111-1111-111111111111", False),
        ("device_id", "EMULATOR", False),
        ("device_id", "b2761ec9-1111-1111-1111-111111111111", True),
        ("device_id", "1111111", True),
        ("advertising_id", "00000000-0000-0000-0000-000000000000", False),
        ("advertising_id", "unknown", False),
        ("user_id", "11111111", True),
        ("user_id", "123456789012345", True),
    ],
)
def test_constants_that_many_devices_state_identify_none(kind: str, value: str, counts: bool) -> None:
    assert counts == (claim(kind, value, IdentityPolicy(), SECRET) is not None)


def test_composed_and_decomposed_letters_are_one_identifier_and_other_letters_are_not() -> None:
    spellings = ["Ren\u00e9", "Rene\u0301", " Rene\u0301 "]
    others = ["Rene", "Ren\u00e8", "\ufb01n", "fin", "\uff52ene"]

    assert 1 == len({claim("user_id", value, IdentityPolicy(), SECRET) for value in spellings})
    assert 6 == len({claim("user_id", value, IdentityPolicy(), SECRET) for value in [*others, spellings[0]]})
