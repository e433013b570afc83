"""Currencies as people and tills write them: a symbol, a short name, the number of ISO 4217, for the three letters.

A symbol of one currency stands for it; one that several share, such as `$` or `kr`, does so only where the currency of
the source or of the order is known and is one of them. What nobody knows is not guessed: 100 kr are 9 or 13 euros.

Known are the codes of ISO 4217 of today and before, as the Unicode CLDR lists them, and some of no list that shops use.
Other letters, such as `XYZ` or `POINTS`, are a currency of their own: an order in it is kept, and no sum of another
currency has it without a rate.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from babel.core import get_global
from pydantic_core import PydanticCustomError

CODE_PATTERN = "^[A-Za-z]{3,10}$"
_CODE = re.compile(r"[A-Za-z]{3,10}", re.ASCII)
_MAX_CHARS = 40
NO_CODE = "it should be the three letters of ISO 4217, such as EUR"

KNOWN: frozenset[str] = frozenset(get_global("all_currencies")) | {
    "BTC", "XBT", "ETH", "LTC", "BCH", "XRP", "DOGE", "USDT", "USDC", "DAI", "EURC",  # coins
    "GGP", "IMP", "JEP", "IRT", "PRB", "TVD", "FOK", "KID", "SLS",  # of islands, of no states, and the toman
    "GBX", "ZAC", "ILA",  # pence, cents and agorot: a hundredth of the currency, with rates of their own
}  # fmt: skip
"""Codes that a list has."""

_DOLLARS = (
    "USD", "AUD", "CAD", "NZD", "SGD", "HKD", "TWD", "MXN", "ARS", "CLP", "COP", "UYU", "DOP", "CUP", "NIO", "BBD",
    "BMD", "BND", "BSD", "BZD", "FJD", "GYD", "JMD", "KYD", "LRD", "NAD", "SBD", "SRD", "TTD", "XCD",
)  # fmt: skip
_PESOS = ("MXN", "ARS", "CLP", "COP", "UYU", "DOP", "CUP", "PHP")
_CROWNS = ("SEK", "NOK", "DKK", "ISK")
_RUPEES = ("INR", "PKR", "LKR", "NPR", "MUR", "SCR")
_POUNDS = ("GBP", "EGP", "LBP", "SYP", "SDG", "SSP", "GIP", "FKP", "SHP")
_FRANCS = ("CHF", "XOF", "XAF", "XPF", "BIF", "CDF", "DJF", "GNF", "KMF", "RWF")

_ONE: dict[str, str] = {
    **dict.fromkeys(("€", "euro", "euros", "978"), "EUR"),
    **dict.fromkeys(("us$", "$us", "usdollar", "usdollars", "840"), "USD"),
    **dict.fromkeys(("£", "gb£", "£gb", "uk£", "poundsterling", "826"), "GBP"),
    **dict.fromkeys(("sfr", "756"), "CHF"), **dict.fromkeys(("zł", "zl", "zloty", "złoty", "985"), "PLN"),
    **dict.fromkeys(("kč", "203"), "CZK"), **dict.fromkeys(("ft", "forint", "348"), "HUF"),
    **dict.fromkeys(("лв", "975"), "BGN"), "дин": "RSD", "ден": "MKD", **dict.fromkeys(("₺", "tl", "949"), "TRY"),
    **dict.fromkeys(("yen", "jpyen"), "JPY"), **dict.fromkeys(("rmb", "cnrmb"), "CNY"), "nis": "ILS", "ntd": "TWD",
    "ukp": "GBP", "won": "KRW", "baht": "THB", "rand": "ZAR", "reais": "BRL", "₿": "BTC",
    **dict.fromkeys(("bitcoin", "bitcoins"), "BTC"),
    **dict.fromkeys(("₽", "643"), "RUB"), **dict.fromkeys(("₴", "грн", "980"), "UAH"), "₸": "KZT", "₾": "GEL",
    "֏": "AMD", "₼": "AZN", "₪": "ILS", "د.إ": "AED", "ر.س": "SAR", "د.ك": "KWD", "ج.م": "EGP", "e£": "EGP",
    **dict.fromkeys(("ca$", "cdn$", "124"), "CAD"), **dict.fromkeys(("a$", "au$", "036", "36"), "AUD"),
    **dict.fromkeys(("nz$", "554"), "NZD"), **dict.fromkeys(("s$", "sg$", "702"), "SGD"),
    **dict.fromkeys(("hk$", "344"), "HKD"), **dict.fromkeys(("nt$", "901"), "TWD"),
    **dict.fromkeys(("mx$", "484"), "MXN"), **dict.fromkeys(("r$", "986"), "BRL"),
    **dict.fromkeys(("cn¥", "yuan", "renminbi", "156"), "CNY"), **dict.fromkeys(("jp¥", "円", "392"), "JPY"),
    **dict.fromkeys(("₩", "원", "410"), "KRW"), **dict.fromkeys(("₹", "356"), "INR"), "฿": "THB", "₫": "VND",
    "₱": "PHP", "rp": "IDR", "rm": "MYR", "₦": "NGN", "₵": "GHS", "gh₵": "GHS", "₡": "CRC", "₲": "PYG", "s/": "PEN",
    "752": "SEK", "578": "NOK", "208": "DKK", "352": "ISK", "946": "RON",
}  # fmt: skip
"""Of which currency a symbol is, in small letters; of `£` where no other pound is known."""

_SEVERAL: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("$", "dollar", "dollars"), _DOLLARS), "c$": ("CAD", "NIO"), "¥": ("JPY", "CNY"),
    "元": ("CNY", "TWD", "HKD"), **dict.fromkeys(("kr", "krone", "kroner"), _CROWNS), "krona": ("SEK", "ISK"),
    **dict.fromkeys(("rs", "rupee", "rupees"), _RUPEES), **dict.fromkeys(("£", "pound", "pounds"), _POUNDS),
    **dict.fromkeys(("fr", "franc", "francs"), _FRANCS), **dict.fromkeys(("cfa", "fcfa"), ("XOF", "XAF")),
    **dict.fromkeys(("peso", "pesos"), _PESOS), **dict.fromkeys(("rubel", "ruble", "rubles"), ("RUB", "BYN")),
    **dict.fromkeys(("lei", "leu"), ("RON", "MDL")), "руб": ("RUB", "BYN"), "r": ("ZAR",), "bs": ("BOB", "VES"),
    "ریال": ("SAR", "IRR", "QAR", "OMR", "YER"),
}  # fmt: skip
"""The currencies that share a symbol, the most frequent first."""


def currency_code(stated: object, known: str = "") -> str | None:
    """Return the code of ISO 4217 that a currency is meant by.

    Args:
        stated: What was sent: a code in any case, a symbol, a short name, or the number of ISO 4217.
        known: The currency of the source or of the order; decides between those that share the symbol.

    Returns:
        Capital letters, three of a code of ISO 4217; None if it is no currency, or several share it.
    """
    text = _plain(stated)
    if text is None:
        return None
    if text.upper() in KNOWN:
        return text.upper()
    if known in _SEVERAL.get(text, ()):
        return known
    found = _ONE.get(text) or _with_its_code(text)
    return found or (text.upper() if _CODE.fullmatch(text) and text not in _SEVERAL else None)


def read_code(stated: object) -> str:
    """Read the letters of a currency, in any case; what only means a currency is for `currency_code`.

    Raises:
        PydanticCustomError: It is no letters, or what several currencies or another one are called.
    """
    if isinstance(stated, str):
        code = stated.upper()
        if code in KNOWN or (_CODE.fullmatch(stated) and currency_code(stated) == code):
            return code
    raise PydanticCustomError("currency", NO_CODE)


def is_unknown(code: object) -> bool:
    """Return whether a value is the letters of a currency that no list has."""
    return isinstance(code, str) and code.upper() not in KNOWN and _CODE.fullmatch(code) is not None


def sharing(stated: object) -> tuple[str, ...]:
    """Return the currencies that share a symbol; empty if it is of one, or of none."""
    text = _plain(stated)
    return () if text is None else _SEVERAL.get(text, ())


def _with_its_code(text: str) -> str | None:
    """Read a code beside its own symbol, as in `EUR €`; a symbol of another currency contradicts it."""
    for code, symbol in ((text[:3], text[3:]), (text[-3:], text[:-3])):
        if code.upper() in KNOWN and (_ONE.get(symbol) == code.upper() or code.upper() in _SEVERAL.get(symbol, ())):
            return code.upper()
    return None


def _plain(stated: object) -> str | None:
    if type(stated) is int:
        stated = str(stated)
    return _plain_text(stated) if isinstance(stated, str) and len(stated) <= _MAX_CHARS else None


@lru_cache(maxsize=256)
def _plain_text(text: str) -> str:
    """Write a text in small letters, without blanks, marks that do not print and a full stop at its end."""
    usual = unicodedata.normalize("NFKC", text)
    printed = "".join(one for one in usual if not one.isspace() and unicodedata.category(one) != "Cf")
    return printed.lower().removesuffix(".")
