"""Opens the location database: a file in MaxMind's format (MMDB) that the operator supplies.

GeoLite2 and GeoIP2 (City or Country), DB-IP and IPinfo have their fields in one of two forms; both are read. The file
is mapped into memory, so workers of one machine share it; a new file is read by the next start of a worker.
"""

from __future__ import annotations

from typing import Any

import maxminddb

from deploy.operations.definition_files import DefinitionError
from processors.enrichment.enrichment import LocationDatabase, Place
from schemas.time import time_of_ms

_NOWHERE = Place()


def open_locations(path: str) -> LocationDatabase | None:
    """Open the database of a path; None where the path is empty.

    Raises:
        DefinitionError: The file cannot be read, or is no such database.
    """
    if not path:
        return None
    try:
        reader = maxminddb.open_database(path)
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        raise DefinitionError(
            f"THROUGHLINE_LOCATION_DATABASE={path}: {error}; name a file in MaxMind's format (.mmdb), or none"
        ) from error
    about = reader.metadata()
    built = time_of_ms(about.build_epoch * 1000)

    def locate(address: str) -> Place:
        try:
            record = reader.get(address.strip())
        except (TypeError, ValueError, maxminddb.InvalidDatabaseError):  # no address, or IPv6 where only IPv4 is
            return _NOWHERE
        return _place(record) if isinstance(record, dict) else _NOWHERE

    return LocationDatabase(locate, f"{about.database_type} {built:%Y-%m-%d}")


def _place(record: dict[str, Any]) -> Place:
    country = record.get("country") or record.get("registered_country") or record.get("country_code")
    if isinstance(country, dict):
        country = country.get("iso_code")
    elif record.get("country_code"):  # IPinfo: the name is in `country`, the code beside it
        country = record["country_code"]
    city = record.get("city")
    if isinstance(city, dict):
        names = city.get("names")
        city = names.get("en") if isinstance(names, dict) else None
    return Place(country if isinstance(country, str) else "", city if isinstance(city, str) else "")
