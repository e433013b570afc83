"""People by their telephones, devices, addresses and birthdays: who is one person and who is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from processors.journeys.timers import due_time
from processors.segments.engine import SegmentEngine
from schemas.journeys.definitions import LocalTime
from schemas.profiles.person import Person
from schemas.time import ms_of_time, time_of_ms
from tests.support.field_events import Field, Inputs
from tests.support.stories import shipped_segments

pytestmark = pytest.mark.e2e

INPUTS = Inputs()

# Latin American mobiles as people write them, and as WhatsApp does.
INPUTS.event("""
{"event_id": "mx-1", "event": "Signed Up", "channel": "web", "source": "shop",
 "occurred_at": "2026-11-01T10:00:00Z", "identifiers": {"user_id": "mx", "phone": "+52 55 1234 5678"}}
{"event_id": "mx-2", "event": "WhatsApp Message Replied", "channel": "whatsapp", "source": "wa",
 "occurred_at": "2026-11-02T10:00:00Z", "identifiers": {"whatsapp_id": "5215512345678"}}
{"event_id": "br-1", "event": "Signed Up", "channel": "web", "source": "shop",
 "occurred_at": "2026-11-01T10:00:00Z", "identifiers": {"user_id": "br", "phone": "+55 31 98765-4321"}}
{"event_id": "br-2", "event": "WhatsApp Message Replied", "channel": "whatsapp", "source": "wa",
 "occurred_at": "2026-11-02T10:00:00Z", "identifiers": {"whatsapp_id": "553187654321"}}
{"event_id": "ar-1", "event": "Signed Up", "channel": "web", "source": "shop",
 "occurred_at": "2026-11-01T10:00:00Z", "identifiers": {"user_id": "ar", "phone": "+54 11 1234-5678"}}
{"event_id": "ar-2", "event": "WhatsApp Message Replied", "channel": "whatsapp", "source": "wa",
 "occurred_at": "2026-11-02T10:00:00Z", "identifiers": {"whatsapp_id": "5491112345678"}}
{"event_id": "mx-3", "event": "Call Ended", "channel": "call_center", "source": "pbx",
 "occurred_at": "2026-11-03T10:00:00Z", "identifiers": {"phone": "+52 1 55 1234 5678"}}
{"event_id": "land-1", "event": "Signed Up", "channel": "web", "source": "shop",
 "occurred_at": "2026-11-01T10:00:00Z", "identifiers": {"user_id": "br-land", "phone": "+55 31 3456-7890"}}
{"event_id": "land-2", "event": "Signed Up", "channel": "web", "source": "shop",
 "occurred_at": "2026-11-01T10:00:00Z", "identifiers": {"user_id": "br-other", "phone": "+55 31 93456-7890"}}
""")
SAME_MOBILE = {"mx": ["mx-1", "mx-2", "mx-3"], "br": ["br-1", "br-2"], "ar": ["ar-1", "ar-2"]}

# WhatsApp without a telephone number.
INPUTS.event("""
{"event_id": "bs-1", "event": "WhatsApp Message Replied", "channel": "whatsapp", "source": "wa",
 "occurred_at": "2026-11-02T10:00:00Z",
 "identifiers": {"whatsapp_id": "491511234567", "whatsapp_user_id": "DE.13491208655302741918"}}
{"event_id": "bs-2", "event": "WhatsApp Message Replied", "channel": "whatsapp", "source": "wa",
 "occurred_at": "2026-11-09T10:00:00Z", "identifiers": {"whatsapp_user_id": "DE.13491208655302741918"}}
{"event_id": "bs-3", "event": "WhatsApp Message Replied", "channel": "whatsapp", "source": "wa",
 "occurred_at": "2026-11-09T10:00:00Z", "identifiers": {"whatsapp_id": "MX.4155552671"}}
{"event_id": "bs-4", "event": "Signed Up", "channel": "web", "source": "shop",
 "occurred_at": "2026-11-01T10:00:00Z", "identifiers": {"user_id": "sf", "phone": "+1 415 555 2671"}}
{"event_id": "bs-5", "event": "WhatsApp Message Replied", "channel": "whatsapp", "source": "wa",
 "occurred_at": "2026-11-09T10:00:00Z", "identifiers": {"whatsapp_user_id": "US.13491208655302741918"}}
{"event_id": "bs-6", "event": "WhatsApp Message Replied", "channel": "whatsapp", "source": "wa",
 "occurred_at": "2026-11-09T10:00:00Z", "identifiers": {"whatsapp_id": "DE.13491208655302741918"}}
""")

# National numbers: of a country that the event names, of a source's region, and of none.
INPUTS.event("""
{"event_id": "fr-1", "event": "Signed Up", "channel": "store", "source": "pos-lyon",
 "occurred_at": "2026-11-01T10:00:00Z", "identifiers": {"loyalty_id": "F-1", "phone": "06 12 34 56 78"},
 "traits": {"address": {"country": "FR"}}}
{"event_id": "fr-2", "event": "WhatsApp Message Replied", "channel": "whatsapp", "source": "wa",
 "occurred_at": "2026-11-02T10:00:00Z", "identifiers": {"whatsapp_id": "33612345678"}}
{"event_id": "in-1", "event": "Signed Up", "channel": "web", "source": "shop-in",
 "occurred_at": "2026-11-01T10:00:00Z", "identifiers": {"user_id": "I-1", "phone": "98765 43210"},
 "context": {"locale": "en-IN"}}
{"event_id": "in-2", "event": "WhatsApp Message Replied", "channel": "whatsapp", "source": "wa",
 "occurred_at": "2026-11-02T10:00:00Z", "identifiers": {"whatsapp_id": "919876543210"}}
{"event_id": "ma-1", "event": "Signed Up", "channel": "store", "source": "pos-marseille",
 "occurred_at": "2026-11-01T10:00:00Z", "identifiers": {"loyalty_id": "F-2", "phone": "06 98 76 54 32"}}
{"event_id": "ma-2", "event": "WhatsApp Message Replied", "channel": "whatsapp", "source": "wa",
 "occurred_at": "2026-11-02T10:00:00Z", "identifiers": {"whatsapp_id": "33698765432"}}
{"event_id": "no-1", "event": "Signed Up", "channel": "store", "source": "pos-nowhere",
 "occurred_at": "2026-11-01T10:00:00Z", "identifiers": {"loyalty_id": "F-3", "phone": "06 11 22 33 44"}}
{"event_id": "no-2", "event": "Signed Up", "channel": "store", "source": "pos-nowhere",
 "occurred_at": "2026-11-01T10:00:00Z", "identifiers": {"loyalty_id": "F-4", "phone": "06 11 22 33 44"}}
""")

# Three hundred phones of a model with one device id, of which three log in later; one phone with few installs; no id.
SHARED = {
    "id": "b2761ec9-shared-by-the-model", "manufacturer": "vivo", "model": "V2027", "type": "android",
}  # fmt: skip
INSTALLS = 300


def opened(install: str, key: str, device: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "type": "track", "event": "Application Opened", "anonymousId": install, "messageId": key,
        "timestamp": "2026-11-01T10:00:01Z", "context": {"device": device}, **fields,
    }  # fmt: skip


def _app(calls: list[dict[str, Any]]) -> tuple[str, str, dict[str, Any]]:
    return "app", "/v1/batch", {"batch": calls}


INPUTS.add_call(*_app([opened(f"inst-{n}", f"md-{n}", SHARED) for n in range(1, INSTALLS + 1)]))
INPUTS.add_call(*_app([opened(f"again-{n}", f"ag-{n}", {"id": "one-phone"}) for n in range(3)]))
INPUTS.add_call(*_app([opened(f"empty-{n}", f"em-{n}", {"id": ""}) for n in range(2)]))
INPUTS.add_call(
    *_app(
        [
            {"type": "identify", "userId": f"c-inst-{n}", "anonymousId": f"inst-{n}", "messageId": f"li-{n}",
             "timestamp": "2026-11-02T10:00:00Z", "context": {"device": SHARED}}
            for n in (5, 50, 250)
        ]
    ),
    late=True,
)  # fmt: skip

# E-mail addresses as user ids, in two spellings; and ids that only look alike.
INPUTS.call(
    "web",
    """
{"type": "identify", "userId": "Ada@Shop.example", "anonymousId": "r2-web", "messageId": "r2-1",
 "traits": {"email": "Ada@Shop.example"}}
{"type": "identify", "userId": "Mixed-7", "anonymousId": "r2-m1", "messageId": "r2-3"}
{"type": "identify", "userId": "Ren\\u00e9", "anonymousId": "r2-n1", "messageId": "r2-5"}
""",
)
INPUTS.call(
    "app",
    """
{"type": "identify", "userId": "ada@shop.example", "anonymousId": "r2-app", "messageId": "r2-2",
 "traits": {"email": "ada@shop.example"}}
{"type": "identify", "userId": "mixed-7", "anonymousId": "r2-m2", "messageId": "r2-4"}
{"type": "identify", "userId": "Rene\\u0301", "anonymousId": "r2-n2", "messageId": "r2-6"}
""",
)

# Dates of birth: JavaScript's form, with midnight in UTC or at home; a date; and an evening that is another day.
BIRTHDAYS = {
    "ny": ("1990-05-15T00:00:00.000Z", "America/New_York", "05-15"),
    "de": ("1990-05-14T22:00:00.000Z", "Europe/Berlin", "05-15"),
    "jp": ("1990-05-15", "Asia/Tokyo", "05-15"),
    "au": ("1990-05-14T14:00:00Z", "Australia/Sydney", "05-15"),
    "eve": ("1990-05-14T22:00:00.000Z", "America/New_York", "05-14"),
}
for _who, (_born, _zone, _) in BIRTHDAYS.items():
    INPUTS.add_call(
        "server", "/v1/batch",
        {"batch": [{"type": "identify", "userId": _who, "messageId": f"bd-{_who}",
                    "traits": {"birthday": _born, "timezone": _zone}}]},
    )  # fmt: skip

# One message id of Amazon SES for three receivers, and a second report of one of them.
INPUTS.records += [
    {
        "event_id": f"ses-{number}", "event": f"Email {step}", "channel": "email", "source": "ses-events",
        "occurred_at": f"2026-11-07T10:0{number}:00Z", "identifiers": {"email": f"{who}@ses.example"},
        "properties": {"message_id": "ses-1", **more},
    }
    for number, (step, who, more) in enumerate(
        [
            ("Delivered", "ada", {}), ("Delivered", "bob", {}), ("Delivered", "eve", {}),
            ("Bounced", "bob", {"bounce_type": "Permanent"}), ("Delivered", "ada", {}),
        ]
    )
]  # fmt: skip


@pytest.mark.parametrize("who", SAME_MOBILE)
def test_the_spellings_of_a_mobile_are_one_person(field: Field, who: str) -> None:
    assert SAME_MOBILE[who] == field.events_of(f"user_id:{who}")


def test_a_landline_gets_no_ninth_digit(field: Field) -> None:
    assert [["land-1"], ["land-2"]] == [field.events_of("user_id:br-land"), field.events_of("user_id:br-other")]


def test_messages_go_to_the_number_that_whatsapp_knows(field: Field) -> None:
    addresses = field.profile("user_id:mx")["addresses"]

    assert "5215512345678" in str(addresses["whatsapp_id"])


def test_a_user_id_of_whatsapp_is_one_person_with_the_number(field: Field) -> None:
    profile = field.profile("whatsapp_user_id:DE.13491208655302741918")

    assert ["bs-1", "bs-2"] == field.events_of("whatsapp_user_id:DE.13491208655302741918")
    assert ["DE.13491208655302741918"] == [one["value"] for one in profile["addresses"]["whatsapp_user_id"]]
    assert ["bs-5"] == field.events_of("whatsapp_user_id:US.13491208655302741918")


def test_a_user_id_in_the_place_of_a_number_is_nobodys_number(field: Field) -> None:
    assert ["bs-4"] == field.events_of("user_id:sf")
    for event_id in ("bs-3", "bs-6"):
        assert field.event(event_id)["person"] not in {
            field.person("user_id:sf"),
            field.person("whatsapp_user_id:DE.13491208655302741918"),
        }


@pytest.mark.parametrize(
    ("who", "number", "events"),
    [
        ("loyalty_id:F-1", "+33612345678", ["fr-1", "fr-2"]),
        ("user_id:I-1", "+919876543210", ["in-1", "in-2"]),
        ("loyalty_id:F-2", "+33698765432", ["ma-1", "ma-2"]),
    ],
    ids=["the address's country", "the locale's country", "the source's region"],
)
def test_a_national_number_is_of_its_country(field: Field, who: str, number: str, events: list[str]) -> None:
    assert events == field.events_of(who)
    assert field.person(f"phone:{number}") == field.person(who)


def test_a_national_number_of_no_known_country_joins_nobody(field: Field) -> None:
    assert [["no-1"], ["no-2"]] == [field.events_of("loyalty_id:F-3"), field.events_of("loyalty_id:F-4")]
    assert "06 11 22 33 44" == field.profile("loyalty_id:F-3")["traits"]["phone"]
    assert "" == field.person("phone:+10611223344")


def test_phones_of_a_model_that_share_a_device_id_are_not_one_person(field: Field) -> None:
    customers = {n: field.person(f"user_id:c-inst-{n}") for n in (5, 50, 250)}
    ((people,),) = field.rows("SELECT uniqExact(profile_id) FROM v_touchpoints WHERE event_id LIKE 'md-%'")

    assert 3 == len(set(customers.values()))
    for n, person in customers.items():
        of_others = [
            event
            for event in field.events_of(f"user_id:c-inst-{n}")
            if event not in {f"md-{n}", f"li-{n}"} and event.startswith(("md-", "li-"))
        ]
        assert [] == of_others, person
    assert INSTALLS - 12 <= people <= INSTALLS


def test_a_device_with_few_installs_is_one_and_an_empty_id_is_none(field: Field) -> None:
    assert ["ag-0", "ag-1", "ag-2"] == field.events_of("anonymous_id:again-1")
    assert field.person("anonymous_id:empty-0") != field.person("anonymous_id:empty-1")


def test_a_user_id_that_is_an_address_is_one_in_any_case(field: Field) -> None:
    assert ["r2-1", "r2-2"] == field.events_of("user_id:ADA@shop.example")
    assert [["r2-3"], ["r2-4"]] == [field.events_of("user_id:Mixed-7"), field.events_of("user_id:mixed-7")]
    assert ["r2-5", "r2-6"] == field.events_of("user_id:Ren\u00e9")


@pytest.mark.parametrize("who", BIRTHDAYS)
def test_segment_and_greeting_agree_on_the_birthday(field: Field, who: str) -> None:
    _, timezone, day = BIRTHDAYS[who]
    zone, document = ZoneInfo(timezone), field.document(f"user_id:{who}")
    noon = ms_of_time(datetime.fromisoformat(f"2027-{day}T12:00:00").replace(tzinfo=zone))
    (today,) = (one.when for one in shipped_segments().segments if one.name == "birthday_today")
    engine = SegmentEngine(shipped_segments(), extra=[today])

    def holds(now_ms: int) -> bool:
        return engine.holds(today, Person("p", document, {}), now_ms)

    a_day = int(timedelta(days=1).total_seconds() * 1000)
    due = due_time(
        LocalTime.model_validate({"date": "trait.birthday", "every_year": True, "time": "09:00"}),
        document["traits"]["birthday"][0],
        ms_of_time(datetime(2027, 1, 1, tzinfo=UTC)),
        zone,
    )

    assert [False, True, False] == [holds(noon - a_day), holds(noon), holds(noon + a_day)]
    assert due is not None
    assert f"2027-{day} 09:00" == f"{time_of_ms(due, zone):%Y-%m-%d %H:%M}"


def test_one_message_id_with_three_receivers_is_three_messages_of_which_one_bounced(field: Field) -> None:
    found = {
        who: field.rows(
            "SELECT delivered, bounced FROM v_messages WHERE message_id = 'ses-1' AND profile_id = {who:UUID}",
            who=field.person(f"email:{who}@ses.example"),
        )
        for who in ("ada", "bob", "eve")
    }

    assert [[0, 1, 0]] == [[row[1] for rows in found.values() for row in rows]]
    assert [(3,)] == field.rows("SELECT count() FROM v_messages WHERE message_id = 'ses-1'")
    bounced = {who: field.profile(f"email:{who}@ses.example")["addresses"]["email"][0]["bounced"] for who in found}
    assert {"ada": False, "bob": True, "eve": False} == bounced
