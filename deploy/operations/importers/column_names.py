"""The names of columns by which an import recognises what they hold: English, German, and the exports of shops.

Names are compared in small letters with single spaces for everything that is no letter or digit, so `E-Mail`, `e_mail`
and `E Mail` are one. Of several columns with the same meaning the first of a list here is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

Names = Mapping[str, tuple[str, ...]]


def _names(table: str) -> Names:
    """Read a table of lines `meaning: name, name, …`; a line that is indented continues the one before."""
    joined = re.sub(r"\n {6,}", " ", table).strip()
    rows = (line.strip().split(": ", 1) for line in joined.splitlines())
    return {meaning: tuple(name.strip() for name in names.split(",")) for meaning, names in rows}


IDENTIFIERS = _names("""
    email: email, e mail, email address, e mail address, mail, customer email, billing email, user email, e mail
      adresse, email adresse, mailadresse, kunden e mail
    phone: phone, phone number, telephone, mobile, mobile phone, cell phone, billing phone, sms, sms phone number,
      default address phone, telefon, telefonnummer, handy, handynummer, mobil, mobilnummer, mobiltelefon, rufnummer
    user_id: user id, userid, customer id, customer number, customer no, client id, external id, kundennummer,
      kunden nr, kundennr, kunden id, kdnr, kd nr, benutzer id
""")

TRAITS = _names("""
    first_name: first name, firstname, given name, fname, billing first name, vorname
    last_name: last name, lastname, surname, family name, lname, billing last name, nachname, familienname
    name: full name, customer name, name, display name
    birthday: birthday, birth date, birthdate, date of birth, dob, geburtstag, geburtsdatum, geb datum
    gender: gender, sex, geschlecht
    locale: locale, language, sprache
    timezone: timezone, time zone, zeitzone
    company: company, company name, organization, default address company, billing company, firma, unternehmen
    created_at: created at, date created, signup date, registered, date registered, user registered, customer since,
      profile created on, optin time, erstellt am, angelegt am, kunde seit, registriert am, anmeldedatum
    tags: tags, schlagworte
    address.street: address1, address 1, street, street address, address, default address address1, billing address 1,
      strasse, straße, adresse, anschrift
    address.city: city, town, default address city, billing city, ort, stadt, wohnort
    address.region: state, province, region, default address province code, billing province, billing state, bundesland
    address.postal_code: zip, zip code, postal code, postcode, default address zip, billing zip, billing postcode, plz,
      postleitzahl
    address.country: country, country code, country region, default address country code, billing country, land,
      laendercode, ländercode
""")

CONSENT = _names("""
    email: accepts email marketing, email marketing consent, accepts marketing, marketing consent, email consent, email
      opt in, newsletter, newsletter opt in, opt in, optin, subscribed, subscription status, email subscriber status,
      buyer accepts marketing, werbeeinwilligung, einwilligung, newsletter einwilligung
    sms: accepts sms marketing, sms marketing consent, sms consent, sms opt in, sms subscriber status
""")
"""By the channel of the answer; a yes is one to marketing too, a no only to the channel."""

PROOF = _names("""
    given_at: consent timestamp, consent date, consent time, confirm time, email marketing consent timestamp, opt in
      date, optin date, einwilligung am, einwilligungsdatum, doi datum
    ip: consent ip, confirm ip, optin ip, opt in ip, einwilligung ip, doi ip
    method: consent method, consent source, opt in source, signup source, email marketing consent method, einwilligung
      quelle, herkunft
    wording: consent text, consent wording, einwilligungstext
""")
"""What proves a consent; kept in `context.consent_proof`."""

ORDER = _names("""
    order_id: order id, order number, order no, bestellnummer, bestell nr, bestellnr, bestell id, auftragsnummer,
      auftrags nr, belegnummer, rechnungsnummer, receipt number, transaction id, id, name
    occurred_at: processed at, created at, order date, date, order created, date created, date created gmt, ordered at,
      purchased at, paid at, bestelldatum, bestellt am, auftragsdatum, rechnungsdatum, belegdatum, datum, kaufdatum,
      timestamp, time
    currency: currency, order currency, currency code, währung, waehrung
    total: total, order total, total price, grand total, total amount, amount, gesamtbetrag, gesamtsumme, summe, gesamt,
      betrag, rechnungsbetrag, bruttobetrag, brutto
    subtotal: subtotal, order subtotal, zwischensumme, warenwert
    tax: taxes, tax, order tax, order total tax, total tax, vat, mwst, ust, steuer, mehrwertsteuer
    shipping: shipping, shipping total, order shipping, shipping cost, versand, versandkosten, porto
    discount: discount amount, discount, discount total, cart discount, order discount, rabatt, nachlass
    coupon: discount code, coupon, coupon code, coupon codes, gutschein, gutscheincode
    payment_method: payment method, payment method title, zahlungsart, zahlart
    store_id: store id, location, store, filiale, filialnummer, markt
""")

LINE = _names("""
    product_id: lineitem sku, product id, item id, item sku, sku, variant sku, artikelnummer, artikel nr, artnr, produkt
      id
    name: lineitem name, product name, item name, product, item, artikel, artikelname, artikelbezeichnung, bezeichnung,
      produkt
    price: lineitem price, item price, item cost, unit price, price, einzelpreis, stückpreis, stueckpreis, preis
    quantity: lineitem quantity, item quantity, quantity, qty, menge, anzahl, stück, stueck
    category: product category, category, kategorie, warengruppe
    brand: vendor, brand, marke, hersteller
""")

EVENT = _names("""
    event: event, event name, event type, metric, action, ereignis, aktion
    event_id: event id, message id, uuid, id
    occurred_at: occurred at, timestamp, event time, event timestamp, time, datetime, date, created at, zeitpunkt, zeit,
      datum
""")

PRODUCT = _names("""
    product_id: product id, item id, artikelnummer, artikel nr, artnr, produkt id, sku, variant sku, handle, id
    sku: sku, variant sku, artikelnummer
    name: product name, item name, title, name, product, item, artikelname, artikelbezeichnung, bezeichnung, artikel,
      produkt
    brand: vendor, brand, marke, hersteller
    category: product category, category, categories, product type, type, kategorie, warengruppe
    url: url, link, product url, product link, permalink, adresse
    image_url: image url, image link, image src, image, images, bild, bild url
    price: price, variant price, regular price, preis, verkaufspreis, vk preis
    currency: currency, currency code, währung, waehrung
    market: market, country, markt, land
    quantity: quantity, stock, inventory, inventory quantity, variant inventory qty, stock quantity, qty, bestand,
      lagerbestand, menge, anzahl
    store_id: store id, store, location, filiale, filialnummer
""")

PRODUCT_AMOUNTS = frozenset({"price", "quantity"})

ORDER_TEXTS = frozenset({"order_id", "currency", "coupon", "payment_method", "store_id"})

UPDATED = ("updated at", "last changed", "last updated", "modified", "date modified", "geändert am", "letzte änderung")
REFUNDED = (
    "refunded amount",
    "refund amount",
    "total refunded",
    "order refund total",
    "erstattet",
    "erstattungsbetrag",
)
CANCELLED = ("cancelled at", "canceled at", "storniert am", "stornodatum")

YES = ("yes", "y", "true", "1", "x", "ja", "j", "subscribed", "opted in", "opt-in", "confirmed", "active")
NO = ("no", "n", "false", "0", "nein", "unsubscribed", "opted out", "opt-out", "cleaned", "suppressed", "inactive")
"""Answers in columns of consent; any other one, such as NEVER_SUBSCRIBED or an empty cell, is none."""

_SEPARATORS = re.compile(r"[\W_]+")


def normalised(name: str) -> str:
    """Return a column's name as it is compared."""
    return _SEPARATORS.sub(" ", name.strip().lower()).strip()


def find(columns: Iterable[str], names: Iterable[str]) -> str | None:
    """Return the column that has one of the names, the first that is listed; None: there is none."""
    known = {normalised(column): column for column in reversed([*columns])}
    return next((known[name] for name in names if name in known), None)
