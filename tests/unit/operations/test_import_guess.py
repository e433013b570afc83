"""A header says what a file's columns are; what may mean two things is asked, and no value is lost without a word."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from deploy.operations.definition_files import load
from deploy.operations.importers.import_rows import ImportFiles, JudgedRow, judged_rows
from deploy.operations.importers.mapping_guess import GuessError, GuessOptions, guess_mapping
from deploy.operations.importers.row_files import REFUSED_COLUMNS, RowFile, RowFileError, escaped, fingerprint
from deploy.operations.importers.value_forms import AmbiguousFormError, decimal_form, time_form
from deploy.settings import Settings
from schemas.intake.file_mappings import FileFormat, FileMapping, ImportKind

SHOPIFY_CUSTOMERS = (
    "Customer ID,First Name,Last Name,Email,Accepts Email Marketing,Default Address City,Default Address Country Code,"
    "Default Address Zip,Phone,Accepts SMS Marketing,Total Spent,Tags\n"
    "207119551,Ada,Love,ada@shop.example,yes,Berlin,DE,10115,'+491701234567,no,12.00,vip\n"
)
SHOPIFY_ORDERS = (
    "Name,Email,Financial Status,Paid at,Currency,Subtotal,Shipping,Taxes,Total,Discount Code,Discount Amount,"
    "Created at,Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Cancelled at,Payment Method,Location,Id\n"
    "#1001,ada@shop.example,paid,2026-10-01 10:15:31 +0200,EUR,60.00,4.90,10.36,64.90,WELCOME,5.00,"
    '2026-10-01 10:15:30 +0200,2,"Lamp, small",20.00,L-1,,card,,6329103920\n'
    "#1001,ada@shop.example,,,,,,,,,,2026-10-01 10:15:30 +0200,1,Bulb,20.00,B-1,,,,\n"
    "#1002,bob@shop.example,paid,2026-10-02 09:00:01 +0200,EUR,10.00,0.00,1.60,10.00,,0.00,"
    "2026-10-02 09:00:00 +0200,1,Bulb,10.00,B-1,2026-10-03 09:00:00 +0200,cash,Berlin,6329103921\n"
)
WOOCOMMERCE_ORDERS = (
    "order_id,order_date,billing_email,billing_phone,order_currency,order_total,item_name,item_sku,item_quantity,item_cost\n"
    "77,2026-10-01 10:15:30,ada@shop.example,,EUR,40.00,Lamp,L-1,2,20.00\n"
)
MAILCHIMP = (
    "Email Address,First Name,Last Name,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,LAST_CHANGED,TAGS\n"
    "ada@shop.example,Ada,Love,2024-02-03 10:15:00,198.51.100.7,2024-02-03 10:16:00,198.51.100.7,2025-01-01 00:00:00,\n"
)
KLAVIYO = (
    "Email,Phone Number,First Name,Email Marketing Consent,SMS Marketing Consent,City,Profile Created On\n"
    "ada@shop.example,+491701234567,Ada,SUBSCRIBED,NEVER_SUBSCRIBED,Berlin,2024-02-03 10:15:00\n"
    "bob@shop.example,,Bob,UNSUBSCRIBED,,Berlin,2024-02-03 10:15:00\n"
)
GERMAN = (
    "Kundennummer;Vorname;Nachname;E-Mail;Handy;Geburtsdatum;Newsletter;Einwilligung am;PLZ;Ort;Land;Farbe\n"
    "K1;Jürgen;Groß;juergen@shop.example;+49 170 1234567;24.12.1980;ja;03.02.2024 10:15;01067;Dresden;DE;rot\n"
    "K2;Änne;Weiß;aenne@shop.example;;01.05.1975;nein;;80331;München;DE;blau\n"
)
RECEIPTS = (
    "Belegnummer\tBelegdatum\tBruttobetrag\tFiliale\tArtikelnummer\tMenge\tEinzelpreis\tKundennummer\n"
    "B1\t24.12.2025 09:30\t1.234,50 €\tBerlin\tL-1\t0,375\t3.292,00 €\tK1\n"
)


def mapped(folder: Path, kind: ImportKind, text: str, encoding: str = "utf-8", **options: Any) -> list[JudgedRow]:
    """Guess the mapping of a file, read the file of the guess, and map and judge the rows."""
    file = folder / "file.csv"
    file.write_bytes(text.encode(encoding))
    rows = RowFile(file, FileFormat(encoding=encoding))
    guess = GuessOptions(**{"source": "shop", "zone": "Europe/Berlin", "encoding": encoding, **options})
    files = ImportFiles(file)
    files.mapping.write_text(guess_mapping(kind, rows.columns, [row.values for row in rows], guess))
    return list(judged_rows(files, load(files.mapping, FileMapping), Settings()))


def events(rows: list[JudgedRow]) -> list[dict[str, Any]]:
    assert [] == [reason for row in rows for reason in row.reasons]
    return [event for row in rows for event in row.events]


def identifiers(event: dict[str, Any]) -> dict[str, str]:
    return {one["type"]: one["value"] for one in event["identifiers"]}


def test_customers_of_shopify(tmp_path: Path) -> None:
    [event] = events(mapped(tmp_path, "people", SHOPIFY_CUSTOMERS))

    assert ("Identify", True) == (event["event"], event["context"]["historical"])
    assert {"user_id": "207119551", "email": "ada@shop.example", "phone": "+491701234567"} == identifiers(event)
    assert {"marketing": True, "channels": {"email": True, "sms": False}} == event["consent"]
    address = {"city": "Berlin", "country": "DE", "postal_code": "10115"}
    assert {"first_name": "Ada", "last_name": "Love", "tags": "vip", "address": address} == event["traits"]


def test_orders_of_shopify_with_a_row_for_each_line_item(tmp_path: Path) -> None:
    first, second, cancelled = events(mapped(tmp_path, "orders", SHOPIFY_ORDERS))
    properties = first["properties"]

    assert ("2026-10-01T08:15:30.000Z", "web", "store") == (first["occurred_at"], first["channel"], second["channel"])
    assert ("6329103920", "64.90", "EUR", "WELCOME") == tuple(
        properties[name] for name in ("order_id", "total", "currency", "coupon")
    )
    assert [("L-1", "Lamp, small", "20.00", 2), ("B-1", "Bulb", "20.00", 1)] == [
        (one["product_id"], one["name"], one["price"], one["quantity"]) for one in properties["products"]
    ]
    assert ("Order Cancelled", "6329103921", "2026-10-03T07:00:00.000Z") == (
        cancelled["event"], cancelled["properties"]["order_id"], cancelled["occurred_at"],
    )  # fmt: skip


def test_what_was_given_back_of_an_order_is_its_share_of_the_revenue(tmp_path: Path) -> None:
    orders = (
        "Order ID,Order Date,Email,Currency,Total,Tax,Shipping,Refunded Amount\n"
        "1,2026-10-01,a@b.example,EUR,119.00,19.00,,59.50\n"
        "2,2026-10-01,a@b.example,EUR,119.00,19.00,,0.00\n"
        "3,2026-10-01,a@b.example,EUR,119.00,19.00,,\n"
    )
    found = events(mapped(tmp_path, "orders", orders))

    assert [("1", "50.00")] == [
        (one["properties"]["order_id"], f"{float(one['properties']['refunded_total']):.2f}")
        for one in found
        if one["event"] == "Order Refunded"
    ]
    assert 3 == sum(one["event"] == "Order Completed" for one in found)


def test_orders_of_woocommerce(tmp_path: Path) -> None:
    [event] = events(mapped(tmp_path, "orders", WOOCOMMERCE_ORDERS))

    assert ("77", "40.00", "2026-10-01T08:15:30.000Z") == (
        event["properties"]["order_id"], event["properties"]["total"], event["occurred_at"],
    )  # fmt: skip
    assert [{"product_id": "L-1", "name": "Lamp", "price": "20.00", "quantity": 2}] == event["properties"]["products"]


def test_subscribers_of_mailchimp_bring_the_proof_of_their_consent_and_no_answer_that_was_not_asked(
    tmp_path: Path,
) -> None:
    [event] = events(mapped(tmp_path, "people", MAILCHIMP))

    assert {"given_at": "2024-02-03T09:16:00.000Z", "ip": "198.51.100.7"} == event["context"]["consent_proof"]
    assert ("2024-12-31T23:00:00.000Z", False) == (event["occurred_at"], "consent" in event)


def test_profiles_of_klaviyo_know_yes_no_and_never_asked(tmp_path: Path) -> None:
    ada, bob = events(mapped(tmp_path, "people", KLAVIYO))

    assert {"marketing": True, "channels": {"email": True}} == ada["consent"]
    assert {"channels": {"email": False}} == bob["consent"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_a_german_file_of_excel(tmp_path: Path, encoding: str) -> None:
    first, second = events(mapped(tmp_path, "people", GERMAN, encoding))

    assert ("Jürgen", "1980-12-24", "01067") == (
        first["traits"]["first_name"], first["traits"]["birthday"], first["traits"]["address"]["postal_code"],
    )  # fmt: skip
    assert ({"given_at": "2024-02-03T09:15:00.000Z"}, False) == (
        first["context"]["consent_proof"], second["consent"]["channels"]["email"],
    )  # fmt: skip


def test_receipts_with_decimal_commas_and_thousands(tmp_path: Path) -> None:
    [event] = events(mapped(tmp_path, "orders", RECEIPTS, currency="EUR"))

    assert ("1234.50", "EUR", "store", "Berlin") == (
        event["properties"]["total"], event["properties"]["currency"], event["channel"],
        event["properties"]["store_id"],
    )  # fmt: skip
    assert [{"product_id": "L-1", "price": "3292.00", "quantity": 0.375}] == event["properties"]["products"]


def test_one_birthday_that_cannot_be_is_set_aside_and_the_person_is_kept(tmp_path: Path) -> None:
    broken = GERMAN.replace("01.05.1975", "31.02.1975")
    _, second = events(mapped(tmp_path, "people", broken))

    assert ("Änne", False) == (second["traits"]["first_name"], "birthday" in second["traits"])
    assert [{"field": "traits.birthday", "rule": "set_aside", "count": 1}] == second["context"]["mended"]


def test_a_row_of_nobody_is_refused_alone_with_its_line(tmp_path: Path) -> None:
    rows = mapped(tmp_path, "people", GERMAN + ";;;;;;ja;;;;;rot\n" + '"K3;unfinished\n')

    assert [(2, 0), (3, 0), (4, 1), (5, 1)] == [(one.row.line, len(one.reasons)) for one in rows]
    assert "event_id cannot be made" in rows[2].reasons[0]
    assert "1 values, expected 12" in rows[3].reasons[0]


def test_the_id_of_a_row_changes_with_what_is_read_of_it_and_with_nothing_else(tmp_path: Path) -> None:
    def ids(text: str) -> list[str]:
        return [event["event_id"] for event in events(mapped(tmp_path, "people", text))]

    before = ids(GERMAN)
    lines = GERMAN.splitlines(keepends=True)
    assert before[::-1] == ids("".join([lines[0], lines[2], lines[1]]))
    assert before == ids(GERMAN.replace(";rot", ";grün"))
    moved = ids(GERMAN.replace("Dresden", "Berlin"))
    assert (True, before[1]) == (before[0] != moved[0], moved[1])


@pytest.mark.parametrize(
    ("people", "expected"),
    [
        ([(f"a{n}@shop.example", "+493012345") for n in range(6)], set()),
        ([("info@shop.example", f"+49170123456{n}") for n in range(6)], {"phone"}),
        ([(f"a{n}@shop.example", "+493012345") for n in range(5)], {"email", "phone"}),
    ],
    ids=["the shop's own number", "the shop's own address", "a family's number"],
)
def test_a_value_that_rows_of_many_people_have_joins_none_of_them(
    tmp_path: Path, people: list[tuple[str, str]], expected: set[str]
) -> None:
    others = [("own@other.example", "+491709999999")]
    rows = "".join(f"{email},{phone}\n" for email, phone in (*people, *others))
    found = events(mapped(tmp_path, "people", f"Email,Phone\n{rows}"))
    kinds = [set(identifiers(event)) for event in found]

    assert [expected or {"email"}] * len(people) == kinds[:-1]
    assert {"email", "phone"} == kinds[-1]
    said = "Not used as an identifier" in (tmp_path / "file.map.yaml").read_text()
    assert said == (expected != {"email", "phone"})


def test_the_id_of_events_is_a_column_whose_values_differ_by_row(tmp_path: Path) -> None:
    header, row = "id,event,time,email\n", "7,Visit,2026-01-0{day},a@shop.example\n"
    twice = events(mapped(tmp_path, "events", header + row.format(day=1) + row.format(day=2)))
    once = events(mapped(tmp_path, "events", header + row.format(day=1) + row.format(day=1)))

    assert 2 == len({event["event_id"] for event in twice})
    assert [7, 7] == [event["properties"]["id"] for event in twice]
    assert ["shop:event:7"] * 2 == [event["event_id"] for event in once]


@pytest.mark.parametrize(
    "cell",
    ["=1+1", "+491701234567", "@SUM(A1)", "-cmd", "'+4917", "''=1", "'quoted'", "-12.50", "plain", "", "'"],
)
def test_refused_rows_hold_no_formula_and_are_read_as_they_were(tmp_path: Path, cell: str) -> None:
    first = escaped(cell)[:1]
    file = tmp_path / "people.refused.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerows([[*REFUSED_COLUMNS, escaped(f"{cell}name"), "x"], [2, "why", escaped(cell), "1"]])
    rows = RowFile(file, FileFormat())

    assert first not in "=+@\t\r" or not cell
    assert (f"{cell}name", cell) == (rows.columns[2], next(iter(rows)).values[rows.columns[2]])


def test_other_files_keep_an_apostrophe(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("email,phone\na@shop.example,'+4917\n")

    assert "'+4917" == next(iter(RowFile(file, FileFormat()))).values["phone"]


def test_a_row_with_a_reserved_name_is_refused_alone(tmp_path: Path) -> None:
    file = tmp_path / "people.jsonl"
    file.write_text('{"email": "a@shop.example", "_rows": 5}\n{"email": "b@shop.example"}\n')
    first, second = RowFile(file, FileFormat())

    assert ({"email": "a@shop.example"}, True) == (first.values, first.problem.startswith("_rows is a name"))
    assert "" == second.problem


def test_an_unknown_encoding_is_named(tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("email\n")

    with pytest.raises(RowFileError, match="'utf-9' is no encoding"):
        fingerprint(file, "utf-9")


def test_rows_of_one_order_that_are_not_together_are_refused_instead_of_half_an_order(tmp_path: Path) -> None:
    again = "#1001,ada@shop.example,,,,,,,,,,2026-10-01 10:15:30 +0200,1,Late,20.00,B-9,,,,\n"
    rows = mapped(tmp_path, "orders", SHOPIFY_ORDERS + again)

    assert ["the rows of Name '#1001' do not follow each other: sort the file"] == [*rows[-1].reasons]


@pytest.mark.parametrize(
    ("kind", "header", "message"),
    [
        ("people", "Farbe,Größe\nrot,1\n", "no column names a person"),
        ("orders", "Bestellnummer,Betrag\n1,2\n", "the time of the order"),
        ("orders", "Bestellnummer,Datum,Betrag\n1,2026-01-01,2\n", "--currency"),
        ("events", "E-Mail,Zeit\na@b.example,2026-01-01\n", "the name of the event"),
    ],
    ids=["nobody", "no time", "no currency", "no event"],
)
def test_what_every_event_needs_is_asked_for(tmp_path: Path, kind: ImportKind, header: str, message: str) -> None:
    with pytest.raises(GuessError, match=message):
        mapped(tmp_path, kind, header)


@pytest.mark.parametrize(
    ("values", "order", "expected"),
    [
        pytest.param(["2026-10-01T10:00:00Z", "2026-10-01"], None, {}, id="ISO 8601"),
        pytest.param(["1790000000", "1790000000000"], None, {}, id="seconds and milliseconds"),
        pytest.param(["24.12.2026 10:15"], None, {"format": "%d.%m.%Y %H:%M"}, id="German"),
        pytest.param(["04/05/2026", "13/05/2026"], None, {"format": "%d/%m/%Y"}, id="a 13th of a month decides"),
        pytest.param(["04/05/2026", "05/13/2026"], None, {"format": "%m/%d/%Y"}, id="a month of 13 decides"),
        pytest.param(["04/05/2026"], "day-first", {"format": "%d/%m/%Y"}, id="said"),
        pytest.param(["Oct 3, 2026", "Nov 4, 2026"], None, {"format": "%b %d, %Y"}, id="American words"),
        pytest.param(["46354.42743", "45230"], None, {"format": "excel"}, id="days as Excel counts them"),
        pytest.param(["31079,5", "", "29579"], None, {"format": "excel"}, id="the same with a comma"),
        pytest.param(["soon", "later"], None, None, id="no time at all"),
        pytest.param(["80331", "01067"], None, None, id="postal codes"),
    ],
)
def test_forms_of_times(values: list[str], order: Any, expected: dict[str, str] | None) -> None:
    assert expected == time_form("when", values, order)


@pytest.mark.parametrize(
    ("before", "delimiter"), [("", ";"), ("\n\r\n", ";"), ("sep=;\r\n", ";"), ("SEP=\t\n", "\t"), ("sep=|\n\n", "|")]
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_what_excel_writes_before_a_header_is_no_header(
    tmp_path: Path, before: str, delimiter: str, encoding: str
) -> None:
    text = before + GERMAN.replace(";", delimiter)
    rows = mapped(tmp_path, "people", text, encoding)

    assert ["juergen@shop.example", "aenne@shop.example"] == [
        next(one["value"] for one in event["identifiers"] if one["type"] == "email") for event in events(rows)
    ]
    first = 2 + before.count("\n")
    assert [first, first + 1] == [row.row.line for row in rows]


def test_orders_with_days_as_excel_counts_them_are_of_those_days(tmp_path: Path) -> None:
    text = (
        "order_id,email,order_date,total,currency\nE1,a@shop.example,46354.5,10.00,EUR\nE2,b@shop.example,44927,2,EUR\n"
    )

    assert ["2026-11-28T11:00:00.000Z", "2022-12-31T23:00:00.000Z"] == [
        event["occurred_at"] for event in events(mapped(tmp_path, "orders", text))
    ]


def test_a_number_that_a_data_frame_lacks_is_not_given(tmp_path: Path) -> None:
    parquet, table = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("pyarrow").table
    parquet.write_table(table({"email": ["a@shop.example"], "total": [float("nan")]}), tmp_path / "rows.parquet")

    assert [{"email": "a@shop.example", "total": None}] == [
        row.values for row in RowFile(tmp_path / "rows.parquet", FileFormat())
    ]


def test_a_date_with_two_readings_is_asked() -> None:
    with pytest.raises(AmbiguousFormError, match="--dates day-first or month-first"):
        time_form("when", ["04/05/2026", "06/07/2026"], None)


@pytest.mark.parametrize(
    ("values", "said", "expected"),
    [
        pytest.param(["12.50", "7"], None, {}, id="plain"),
        pytest.param(["12,50"], None, {"decimal": ","}, id="a comma and two digits"),
        pytest.param(["1.234", "12,5"], None, {"decimal": ","}, id="another value decides"),
        pytest.param(["1,234.50"], None, {"decimal": "."}, id="thousands with a comma"),
        pytest.param(["1.234.567"], None, {"decimal": ","}, id="two points are thousands"),
        pytest.param(["0,375"], None, {"decimal": ","}, id="no number begins with zero thousands"),
        pytest.param(["1,234"], ".", {"decimal": "."}, id="said"),
    ],
)
def test_forms_of_numbers(values: list[str], said: str | None, expected: dict[str, str]) -> None:
    assert expected == decimal_form("price", values, said)


def test_a_number_with_two_readings_is_asked() -> None:
    with pytest.raises(AmbiguousFormError, match="--decimal"):
        decimal_form("price", ["1,234", "2,500"], None)


PRODUCTS = (
    "Artikelnummer;Bezeichnung;Warengruppe;Preis;Bestand;Filiale;Link;Farbe\n"
    "L-1;Lampe;Licht;1.234,50 €;7;;https://shop.example/l-1;rot\n"
    "L-1;Lampe;Licht;1.234,50 €;0;berlin-1;https://shop.example/l-1;rot\n"
)


def test_products_with_their_prices_and_stock(tmp_path: Path) -> None:
    online, berlin = events(mapped(tmp_path, "products", PRODUCTS, currency="EUR", decimal=","))
    about = {
        "product_id": "L-1", "name": "Lampe", "category": "Licht", "price": "1234.50", "currency": "EUR",
        "url": "https://shop.example/l-1",
    }  # fmt: skip

    assert ("Product Updated", [], True) == (online["event"], online["identifiers"], online["context"]["historical"])
    assert [{**about, "quantity": 7}, {**about, "quantity": 0, "store_id": "berlin-1"}] == [
        one["properties"] for one in (online, berlin)
    ]
    assert online["event_id"] != berlin["event_id"]


def test_a_price_that_returns_to_what_it_was_is_a_new_event(tmp_path: Path) -> None:
    text, ids = "sku,price\nL-1,10.00\n", []
    for day in (1, 1, 2):
        (tmp_path / "file.csv").write_text(text)
        os.utime(tmp_path / "file.csv", (day * 86_400, day * 86_400))
        files = ImportFiles(tmp_path / "file.csv")
        options = GuessOptions("shop", currency="EUR")
        files.mapping.write_text(
            guess_mapping("products", ["sku", "price"], [{"sku": "L-1", "price": "10.00"}], options)
        )
        ids += [
            event["event_id"]
            for event in events(list(judged_rows(files, load(files.mapping, FileMapping), Settings())))
        ]

    assert (ids[0], 2) == (ids[1], len(set(ids)))


@pytest.mark.parametrize(
    ("text", "problem"),
    [("Bezeichnung;Preis\nLampe;1,50\n", "no column is the product"), ("sku;price\nL-1;1.50\n", "--currency EUR")],
)
def test_a_list_of_products_that_says_too_little_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(GuessError, match=problem):
        mapped(tmp_path, "products", text)
