"""The engine that the tests of containers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.containers.engine import Engine, NoEngineError, NotHereError
from tests.containers.engine import engine as run_engine
from tests.containers.images import make_images
from tests.support.stack import unavailable


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """An engine with the base images. Where none can run, its tests are skipped; where one fails to, CI fails."""
    try:
        found = (running := run_engine()).__enter__()
    except NotHereError as error:
        pytest.skip(str(error))
    except NoEngineError as error:
        unavailable(str(error))
    try:
        if found.ours:
            make_images(found)
        yield found
    finally:
        running.__exit__(None, None, None)
