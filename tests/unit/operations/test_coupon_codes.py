"""Files of coupon codes: a table or a list; an error names line, value and rule, and nothing is read then."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from deploy.operations.importers.coupons import read_codes
from deploy.operations.importers.tables import TableError
from schemas.coupons import CouponCode
from schemas.time import ms_of_text

BERLIN = ZoneInfo("Europe/Berlin")
NEW_YEAR = ms_of_text("2026-12-31T22:59:59.999Z")


def codes(text: str, ends_ms: int | None = None) -> list[CouponCode]:
    return read_codes(text.splitlines(keepends=True), BERLIN, ends_ms)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A-1\n\n  A-2 \n", [CouponCode("A-1", 7), CouponCode("A-2", 7)]),
        ("\ufeffcode\nA-1\n", [CouponCode("A-1", 7)]),
        ("Code,expires_at\nA-1,2026-12-31\nA-2,\n", [CouponCode("A-1", NEW_YEAR), CouponCode("A-2", 7)]),
        ("code,expires_at\nA-1,2026-12-31T22:59:59.999Z\n", [CouponCode("A-1", NEW_YEAR)]),
    ],
    ids=["a list", "a table of one column", "ends of their own, to the end of the day", "a time"],
)
def test_codes_are_read(text: str, expected: list[CouponCode]) -> None:
    assert expected == codes(text, 7)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: there is no code in the file"),
        ("A-1\nA 2\n", "line 2, column code: 'A 2': expected a code of 1 to 100 characters without blanks"),
        ("A-1\na-1\n", "line 2, column code: 'a-1' is in line 1 already"),
        ("A\u202e1\n", "expected a code"),
        ("X" * 101, "expected a code"),
        ("code,expires_at\nA-1,31.12.2026\n", "line 2, column expires_at: '31.12.2026': expected a date such as"),
        ("code,ends\nA-1,x\n", "line 1, column ends: unknown"),
    ],
)
def test_a_file_with_an_error_is_refused(text: str, problem: str) -> None:
    with pytest.raises(TableError) as error:
        codes(text)

    assert problem in str(error.value)
