"""Location databases, as they are made by the vendors: two forms of record, IPv4 and IPv6, and what is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from deploy.operations.definition_files import DefinitionError
from deploy.operations.locations import open_locations
from processors.enrichment.enrichment import Place

MAXMIND = {
    "country": {"iso_code": "DE", "names": {"en": "Germany", "de": "Deutschland"}},
    "city": {"names": {"en": "Munich", "de": "München"}},
}


def database(path: Path, networks: dict[str, Any], version: int = 6, name: str = "GeoLite2-City") -> str:
    """Write a location database of a few networks."""
    writer = MMDBWriter(ip_version=version, database_type=name, ipv4_compatible=version == 6)
    for network, record in networks.items():
        writer.insert_network(IPSet([network]), record)
    writer.to_db_file(str(path))
    return str(path)


@pytest.mark.parametrize(
    ("record", "place"),
    [
        pytest.param(MAXMIND, Place("DE", "Munich"), id="MaxMind, city"),
        pytest.param({"country": {"iso_code": "FR"}}, Place("FR", ""), id="MaxMind, country"),
        pytest.param({"registered_country": {"iso_code": "PL"}}, Place("PL", ""), id="MaxMind, a satellite's owner"),
        pytest.param({"country": "US", "city": "Boston"}, Place("US", "Boston"), id="IPinfo, location"),
        pytest.param({"country": "United States", "country_code": "US"}, Place("US", ""), id="IPinfo, lite"),
        pytest.param({"autonomous_system_number": 64496}, Place(), id="a database of something else"),
        pytest.param({"country": {"names": {}}, "city": {"names": {"de": "Ulm"}}}, Place(), id="neither in English"),
    ],
)  # fmt: skip
def test_the_records_of_the_vendors(record: dict[str, Any], place: Place, tmp_path: Path) -> None:
    found = open_locations(database(tmp_path / "places.mmdb", {"203.0.113.0/24": record}))

    assert found is not None
    assert place == found.locate("203.0.113.9")


@pytest.mark.parametrize(
    "address",
    ["198.51.100.1", "2001:db9::1", "unknown", "", "203.0.113.9, 10.0.0.1", "203.0.113.9:443", "\x00", "1" * 100],
)
def test_what_is_nowhere(address: str, tmp_path: Path) -> None:
    found = open_locations(database(tmp_path / "places.mmdb", {"203.0.113.0/24": MAXMIND}))

    assert found is not None
    assert Place() == found.locate(address)


def test_ipv6(tmp_path: Path) -> None:
    six = open_locations(database(tmp_path / "six.mmdb", {"2001:db8::/32": MAXMIND}))
    four = open_locations(database(tmp_path / "four.mmdb", {"203.0.113.0/24": MAXMIND}, version=4))

    assert six is not None
    assert four is not None
    assert [Place("DE", "Munich"), Place()] == [found.locate("2001:db8::1") for found in (six, four)]


def test_the_version_is_the_name_and_the_day(tmp_path: Path) -> None:
    found = open_locations(database(tmp_path / "places.mmdb", {"203.0.113.0/24": MAXMIND}, name="DBIP-City-Lite"))

    assert found is not None
    assert "DBIP-City-Lite" == found.version[:-11]


def test_no_path_is_no_database() -> None:
    assert None is open_locations("")


@pytest.mark.parametrize("content", [None, b"", b"not a database"], ids=["absent", "empty", "text"])
def test_a_file_that_is_no_database_is_named(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "wrong.mmdb"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(DefinitionError, match=r"THROUGHLINE_LOCATION_DATABASE=.*wrong\.mmdb: .*MaxMind"):
        open_locations(str(path))
