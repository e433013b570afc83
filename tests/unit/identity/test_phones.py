"""Telephone numbers: whose a national one is, which spellings are one, and what only looks like a number."""

from __future__ import annotations

from typing import Any

import phonenumbers
import pytest

from processors.identity import countries
from processors.identity.claims import all_claims, claim, claims, hash_identifier
from processors.identity.phones import Regions, compared_phone, read_phone, read_whatsapp
from schemas.events.touchpoint import read
from schemas.identity.policy import IdentityPolicy
from schemas.markets import MarketDefinitions
from tests.support.builders import touchpoint

POLICY = IdentityPolicy()
SECRET = b"a-secret"
US = Regions(guessed=("US",))


def clear(identifiers: Any, policy: IdentityPolicy = POLICY, **fields: Any) -> list[str]:
    """The identifiers in clear that an event may be resolved by."""
    return [one["value"] for one in claims(read(touchpoint(identifiers=identifiers, **fields)), policy, SECRET)[1]]


def hashes(identifiers: Any, policy: IdentityPolicy = POLICY, **fields: Any) -> set[bytes]:
    event = read(touchpoint(identifiers=identifiers, **fields))
    return {one.identifier_hash for one in claims(event, policy, SECRET)[0]}


@pytest.mark.parametrize(
    ("phone", "whatsapp"),
    [
        ("+52 55 1234 5678", "5215512345678"),
        ("+52 1 55 1234 5678", "525512345678"),
        ("+52 044 55 1234 5678", "5215512345678@s.whatsapp.net"),
        ("0052 1 81 8123 4567", "whatsapp:+528181234567"),
        ("+52 045 33 3123 4567", "5213331234567"),
        ("+55 31 98765-4321", "553187654321"),
        ("+55 (31) 8765-4321", "5531987654321"),
        ("+55 031 98765 4321", "553187654321@c.us"),
        ("0055 11 6123-4567", "5511961234567"),
        ("+54 11 1234-5678", "5491112345678"),
        ("+54 11 15 1234-5678", "5491112345678"),
        ("+54 9 11 15 1234-5678", "541112345678"),
        ("+54 0351 15 123-4567", "5493511234567"),
        ("+54 9 2966 123456", "542966123456"),
        ("+229 97 12 34 56", "2290197123456"),
    ],
)
def test_the_spellings_of_one_mobile_are_one(phone: str, whatsapp: str) -> None:
    assert hashes({"phone": phone}) & hashes({"whatsapp_id": whatsapp})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("+55 31 3765-4321", "+55 31 93765-4321"),  # a landline, whose number never got a ninth digit
        ("+55 31 2765-4321", "+55 31 92765-4321"),
        ("+55 800 765 4321", "+55 80 90765-4321"),  # a service
        ("+52 1 55 1234 567", "+52 55 1234 567"),  # ten digits that begin with 1, and nine
        ("+52 55 1234 5678", "+1 551 234 5678"),
        ("+1 521 551 2345", "+52 55 1234 5678"),
        ("+54 11 1234-5678", "+54 11 1234-5679"),
        ("+54 9 11 1234-5678", "+54 9 1112 345678 9"),
        ("+351 912 345 678", "+351 12 345 678"),  # a 9 is the first digit of the number itself
        ("+56 9 8765 4321", "+56 2 8765 4321"),
        ("+57 300 123 4567", "+57 1 300 1234"),
        ("+229 21 12 34 56", "+228 01 21 12 34 56"),
    ],
)
def test_numbers_that_only_look_alike_stay_apart(one: str, other: str) -> None:
    assert not hashes({"phone": one}) & hashes({"phone": other})


@pytest.mark.parametrize(
    ("kind", "written", "kept"),
    [
        ("whatsapp_id", "5215512345678", "+5215512345678"),
        ("phone", "+52 55 1234 5678", "+525512345678"),
        ("whatsapp_id", "553187654321", "+553187654321"),
        ("whatsapp_id", "5491112345678", "+5491112345678"),
        ("phone", "+52 044 55 1234 5678", "+525512345678"),  # dialled so at home alone
    ],
)
def test_a_number_is_kept_for_sending_as_it_came(kind: str, written: str, kept: str) -> None:
    assert [kept] == clear({kind: written})
    again = claim(kind, kept, POLICY, SECRET)
    assert again is not None
    assert again.identifier_hash in hashes({kind: written})


def test_both_spellings_in_one_event_are_both_kept_and_claimed_once() -> None:
    event = read(touchpoint(identifiers={"phone": "+52 55 1234 5678", "whatsapp_id": "5215512345678"}))

    found, kept = claims(event, POLICY, SECRET)

    assert 1 == len(found)
    assert ["+5215512345678", "+525512345678"] == sorted(one["value"] for one in kept)


@pytest.mark.parametrize("written", ["+553187654321", "+5491112345678"])
def test_a_number_stored_by_its_former_form_is_claimed_too_so_its_owner_stays_one_person(written: str) -> None:
    former = hash_identifier("phone", written, SECRET)
    compared = hash_identifier("phone", compared_phone(written), SECRET)

    assert {former, compared} == hashes({"phone": written})
    assert [compared, former] == [one.identifier_hash for one in all_claims("phone", written, POLICY, SECRET)]
    assert {"phone"} == {one.type for one in all_claims("whatsapp_id", written, POLICY, SECRET)}


@pytest.mark.parametrize("written", ["+525512345678", "+5531987654321", "+541112345678", "+14155550132"])
def test_a_number_in_its_compared_form_has_the_identifier_hash_that_it_always_had(written: str) -> None:
    assert {hash_identifier("phone", written, SECRET)} == hashes({"phone": written})


def test_a_compared_form_is_compared_as_itself() -> None:
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for kind in (phonenumbers.PhoneNumberType.FIXED_LINE, phonenumbers.PhoneNumberType.MOBILE):
            example = phonenumbers.example_number_for_type(region, kind)
            if example is not None:
                number = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
                assert compared_phone(number) == compared_phone(compared_phone(number))
                assert number == compared_phone(number) or number.startswith("+549"), number


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("MX.4155552671", None),
        ("US.13491208655302741918", None),
        ("DE 01511234567", None),
        ("id4155550132", None),
        ("user 4155550132", None),
        ("№ a 4155550132", None),
        ("call me 415 555 0132", None),
        ("tel:+1-415-555-0132", "+14155550132"),
        ("Tel.: 415 555 0132", "+14155550132"),
        ("TEL 415 555 0132", "+14155550132"),
        ("Mobile: (415) 555-0132", "+14155550132"),
        ("тел. +7 912 345-67-89", "+79123456789"),
        ("(+1) 415 555 0132", "+14155550132"),
        ("\uff0b14155550132", "+14155550132"),
    ],
)
def test_letters_before_the_digits_are_no_number_but_for_the_word_telephone(written: str, expected: str | None) -> None:
    assert expected == read_phone(written, US)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("MX.4155552671", None),
        ("491511234567:12@s.whatsapp.net", "+491511234567"),
        ("491511234567@c.us", "+491511234567"),
        ("4155552671@lid", None),  # the hidden id of a person
        ("491511234567-1612345678@g.us", None),  # a group, named after who made it
        ("120363041234567890@g.us", None),
        ("491511234567@broadcast", None),
        ("whatsapp:MX.4155552671", None),
        ("whatsapp:+5215512345678", "+5215512345678"),
    ],
)
def test_only_a_telephones_address_of_whatsapp_is_a_number(written: str, expected: str | None) -> None:
    assert expected == read_whatsapp(written, US)


FRENCH, INDIAN, BERLIN = "06 12 34 56 78", "98765 43210", "030 901820"


@pytest.mark.parametrize(
    ("fields", "written", "expected"),
    [
        ({"traits": {"address": {"country": "FR"}}}, FRENCH, ["+33612345678"]),
        ({"traits": {"address": {"country_code": "fr", "country": "France"}}}, FRENCH, ["+33612345678"]),
        ({"context": {"geo": {"country": "FR"}}}, FRENCH, ["+33612345678"]),
        ({"context": {"locale": "en-IN"}}, INDIAN, ["+919876543210"]),
        ({"context": {"locale": "zh-Hant_TW"}}, "0912 345 678", ["+886912345678"]),
        ({"context": {"locale": "es_MX"}}, "81 8123 4567", ["+528181234567"]),
        ({"context": {"geo": {"country": "BR"}}}, "(31) 8765-4321", ["+553187654321"]),  # valid with a ninth digit
        ({"context": {"geo": {"country": "UK"}}}, "020 7183 8750", ["+442071838750"]),
        # The country among the traits is where the person lives, geo where the person is.
        ({"traits": {"address": {"country": "FR"}}, "context": {"geo": {"country": "ES"}}}, FRENCH, ["+33612345678"]),
        # Without a country, the default region; the number has to be valid there.
        ({}, "415 555 0132", ["+14155550132"]),
        ({}, "(416) 555-0132", ["+14165550132"]),  # Toronto: one calling code, one way to write it
        ({}, FRENCH, []),
        ({}, INDIAN, []),
        ({}, BERLIN, []),
        ({}, "123 456 7890", []),
        # A country that is known rules out the default one, even where the number would be valid in that.
        ({"context": {"geo": {"country": "GT"}}}, "55 1234 5678", []),
        ({"traits": {"address": {"country": "Mexico"}}}, "55 1234 5678", ["+525512345678"]),
        ({"traits": {"address": {"country": "USA"}}}, "415 555 0132", ["+14155550132"]),  # as Segment's documentation
        ({"traits": {"address": {"country": "united states"}}}, "415 555 0132", ["+14155550132"]),
        ({"traits": {"address": {"country": "DEU"}}}, BERLIN, ["+4930901820"]),
        ({"context": {"geo": {"country": "DE"}}}, "030 12345678", ["+493012345678"]),
        ({"context": {"geo": {"country": "Germany"}}}, "(030) 123 456-78", ["+493012345678"]),
        ({"context": {"geo": {"country": "US"}}}, "030 12345678", []),
        ({"traits": {"address": {"country": "Ruritania"}}}, "415 555 0132", []),
        ({"traits": {"address": {"country": " "}}}, "415 555 0132", ["+14155550132"]),
        ({"traits": {"address": "1 Main St, Springfield"}}, "415 555 0132", ["+14155550132"]),
        ({"traits": {"address": {"country": "FR"}}}, "415 555 0132", []),
        # A locale does not: a Spaniard in San Francisco. What both have, may be either's: Mexico City or New Jersey.
        ({"context": {"locale": "es-ES"}}, "415 555 0132", ["+14155550132"]),
        ({"context": {"locale": "es-MX"}}, "55 1234 5678", []),
        ({"context": {"locale": "de-DE"}}, "415 555 0132", []),
        # A language without a region says nothing.
        ({"context": {"locale": "de"}}, "415 555 0132", ["+14155550132"]),
        ({"context": {"locale": "es-419"}}, "415 555 0132", ["+14155550132"]),
        # With its country code a number needs no region, and no event changes it.
        ({"context": {"geo": {"country": "FR"}}}, "+1 415 555 0132", ["+14155550132"]),
        ({"context": {"geo": {"country": "FR"}}}, "0044 20 7183 8750", ["+442071838750"]),
    ],
)
def test_a_national_number_belongs_to_the_events_country_if_it_is_valid_there(
    fields: dict[str, Any], written: str, expected: list[str]
) -> None:
    assert expected == clear({"phone": written}, **fields)


def test_what_browsers_are_sold_with_says_nothing_about_a_country() -> None:
    german = IdentityPolicy(default_region="DE")

    assert ["+4930901820"] == clear({"phone": BERLIN}, german, context={"locale": "en-US"})
    assert ["+492015550123"] == clear({"phone": "201 5550123"}, german, context={"locale": "en-US"})


def test_a_source_with_a_region_needs_no_more_than_a_possible_number_and_tries_no_other_region() -> None:
    policy = IdentityPolicy(regions={"pos-lyon": "FR", "shop-in": "IN", "shop-de": "DE"})

    assert ["+33612345678"] == clear({"phone": FRENCH}, policy, source="pos-lyon")
    assert ["+919876543210"] == clear({"phone": INDIAN}, policy, source="shop-in", context={"locale": "en-US"})
    assert ["+491511234567"] == clear({"phone": "0151 1234567"}, policy, source="shop-de")  # a digit short of valid
    assert [] == clear({"phone": "0151 1234567"}, policy, source="shop", context={"geo": {"country": "DE"}})
    assert [] == clear({"phone": "415 555 0132"}, policy, source="pos-lyon", context={"geo": {"country": "US"}})
    assert ["+14155550132"] == clear({"phone": "+14155550132"}, policy, source="pos-lyon")
    assert ["+33612345678"] == clear({"whatsapp_id": FRENCH}, policy, source="pos-lyon")


MARKETS = MarketDefinitions.model_validate(
    {
        "default": "others",
        "markets": {
            "others": {"default_region": "DE"},
            "france": {"countries": ["FR", "MC"], "default_region": "FR", "stores": {"nice": "FR", "monaco": "MC"}},
            "india": {"countries": ["IN"]},
        },
    }
)
OF_MARKETS = IdentityPolicy(market_regions=MARKETS.phone_regions, store_countries=MARKETS.store_countries)


@pytest.mark.parametrize(
    ("fields", "written", "expected"),
    [
        ({"context": {"geo": {"country": "MC"}}}, "01 42 68 53 00", ["+33142685300"]),
        ({"traits": {"address": {"country": "Monaco", "country_code": "mc"}}}, "01 42 68 53 00", ["+33142685300"]),
        ({"properties": {"store_id": "nice"}}, FRENCH, ["+33612345678"]),
        ({"context": {"store_id": "monaco"}}, "01 42 68 53 00", ["+33142685300"]),
        ({"context": {"geo": {"country": "MC"}}}, FRENCH, ["+377612345678"]),
        ({"properties": {"store_id": "nice"}, "context": {"geo": {"country": "IN"}}}, FRENCH, []),
        ({"context": {"geo": {"country": "IN"}}}, INDIAN, ["+919876543210"]),
        ({"properties": {"store_id": "elsewhere"}}, FRENCH, []),
        ({"context": {"locale": "fr"}}, FRENCH, []),
        ({}, BERLIN, []),
        ({"context": {"geo": {"country": "BR"}}}, BERLIN, []),
        ({"source": "pos-in", "properties": {"store_id": "nice"}}, "01 42 68 5", []),
        ({"source": "pos-in", "properties": {"store_id": "nice"}}, INDIAN, ["+919876543210"]),
    ],
    ids=[
        "a country of the market", "a country that the person states", "a store of the market",
        "a store of another country of it", "a number of the country itself",
        "a place counts before a store",
        "a market without a region: the country", "a store that is not in the table", "a language is no market",
        "the default market is a guess", "a country of no market", "the source's region comes first",
        "and no other is tried",
    ],
)  # fmt: skip
def test_a_national_number_is_read_by_the_region_of_its_market(
    fields: dict[str, Any], written: str, expected: list[str]
) -> None:
    policy = OF_MARKETS.model_copy(update={"regions": {"pos-in": "IN"}})

    assert expected == clear({"phone": written}, policy, **fields)


def test_a_number_that_identifies_nobody_leaves_the_other_identifiers_of_its_event() -> None:
    assert ["F-1"] == clear({"loyalty_id": "F-1", "phone": FRENCH})


def test_the_same_digits_of_two_countries_are_two_people_also_from_the_cache() -> None:
    twice = [
        clear({"phone": "0201 5550123"}, context={"geo": {"country": country}}) for country in ("DE", "FR", "DE", "FR")
    ]

    assert [["+492015550123"], [], ["+492015550123"], []] == twice


def test_mobiles_of_argentina_without_an_area_code_are_many_telephones() -> None:
    policy = IdentityPolicy(regions={"shop-ar": "AR"})

    assert [] == clear({"phone": "15 1234-5678"}, policy, source="shop-ar")
    assert ["+5491112345678"] == clear({"phone": "011 15-1234-5678"}, policy, source="shop-ar")


@pytest.mark.parametrize("region", ["UK", "", "de"])
def test_a_region_of_a_source_is_one_of_iso_3166(region: str) -> None:
    with pytest.raises(ValueError, match="is no region"):
        IdentityPolicy(regions={"shop": region})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Ada@Shop.example", "ada@shop.example"),
        (" ada@shop.example", "ADA@SHOP.EXAMPLE"),
        ("Jose\u0301@shop.example", "jos\u00e9@Shop.example"),
    ],
)
def test_user_ids_that_are_e_mail_addresses_compare_as_such(one: str, other: str) -> None:
    assert hashes({"user_id": one}) == hashes({"user_id": other})
    assert [one.strip()] == clear({"user_id": one})  # the retailer's own systems know it so


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"user_id": "Ada"}, {"user_id": "ada"}),
        ({"user_id": "Ada@Shop"}, {"user_id": "ada@shop"}),
        ({"user_id": "aB3@x y"}, {"user_id": "ab3@x y"}),
        ({"user_id": "ada+1@shop.example"}, {"user_id": "ada@shop.example"}),
        ({"user_id": "ada@shop.example"}, {"email": "ada@shop.example"}),
        ({"crm_id": "Ada@Shop.example"}, {"crm_id": "ada@shop.example"}),
    ],
)
def test_other_ids_stay_as_they_are_written(one: dict[str, str], other: dict[str, str]) -> None:
    assert not hashes(one) & hashes(other)


def test_a_policy_can_compare_user_ids_by_every_letter() -> None:
    exact = IdentityPolicy.model_validate({"types": {"user_id": {"normalise": "opaque"}}})

    assert not hashes({"user_id": "Ada@Shop.example"}, exact) & hashes({"user_id": "ada@shop.example"}, exact)


def test_a_whatsapp_user_id_is_a_known_identifier_of_its_own() -> None:
    user_id = "DE.13491208655302741918"
    rule = POLICY.rule("whatsapp_user_id")

    assert ("whatsapp_user_id", 5, True) == (rule.type, rule.limit, rule.known)
    assert [user_id] == clear({"whatsapp_user_id": user_id})
    assert hashes({"whatsapp_user_id": user_id}) < hashes({"whatsapp_id": "491511234567", "whatsapp_user_id": user_id})
    assert not hashes({"whatsapp_user_id": "DE.491511234567"}) & hashes({"whatsapp_id": "491511234567"})
    assert [] == clear({"whatsapp_id": user_id})


def test_every_country_that_is_read_by_name_is_a_region() -> None:
    assert {True} == {region in phonenumbers.SUPPORTED_REGIONS for region in countries._REGION_OF.values()}
    assert ("US", "GB", "FR", "") == tuple(map(countries.region_of, ("u.s.a.", "UK", " fr ", "XX")))
