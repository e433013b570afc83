"""One run of the pipeline for all stories of this folder: everything is published, then each asks for its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.field_events import test_details, test_orders, test_people, test_visits
from tests.support.collector import collector
from tests.support.field_events import Field, settings_for
from tests.support.pipeline import Pipeline
from tests.support.stack import Addresses, corner

KEYS = "web=web-key,app=app-key,phone=phone-key,server=server-key"


@pytest.fixture(scope="session")
def field(servers: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    """The deployment, with every input of these modules."""
    home = tmp_path_factory.mktemp("field")
    with corner(servers) as stack:
        settings = settings_for(stack, home)
        roles = ("identify", "profile", "record")
        with Pipeline(settings, home, roles) as pipeline, collector(settings, home, write_keys=KEYS) as service:
            found = Field(pipeline, service)
            found.publish(module.INPUTS for module in (test_orders, test_visits, test_people, test_details))
            yield found
