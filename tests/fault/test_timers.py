"""No timer fires ahead of an order that Kafka had confirmed before, whichever part of the pipeline stands still."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.reminders import Reminders, definitions, reminders
from tests.support.stack import Addresses, corner, local_stack

pytestmark = [pytest.mark.fault, pytest.mark.timed]

CARTS = 24
ORDERED = range(0, CARTS, 2)


def _ready(shop: Reminders) -> None:
    """Wait until all workers read and everything is in motion, then fill the carts."""
    shop.warm_up()
    shop.fill_carts(CARTS)


def _identify_stands_still(shop: Reminders) -> None:
    _ready(shop)
    shop.pipeline.workers["identify"].pause()
    shop.order(ORDERED)
    shop.sleep_until_due()
    shop.pipeline.workers["identify"].resume()


def _a_profile_worker_dies(shop: Reminders) -> None:
    shop.pipeline.start("profile", "profile 2")
    shop.wait_until_reading("profile", "profile 2")
    _ready(shop)
    shop.pipeline.workers["profile 2"].kill()
    shop.order(ORDERED)
    shop.sleep_until_due()


def _workers_start_late(shop: Reminders) -> None:
    _ready(shop)
    for role in ("identify", "profile"):
        shop.pipeline.workers[role].kill()
    shop.order(ORDERED)
    shop.sleep_until_due(0)
    shop.pipeline.start("profile")
    shop.wait_until_reading("profile")
    time.sleep(3)
    shop.pipeline.start("identify")


Disturb = Callable[[Reminders], None]

DRILLS: dict[str, tuple[Disturb, int]] = {
    "identify stands still": (_identify_stands_still, 6),
    "a profile worker dies": (_a_profile_worker_dies, 20),
    "workers start late": (_workers_start_late, 6),
}
"""What happens, and the session timeout: for so long a dead worker is still a member of its group."""
THE_BROKER = "the broker stands still"


@pytest.fixture(scope="module")
def drills(servers: Addresses, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[list[int]]]]:
    """Do the drills at once: most of the time, each waits."""

    def wrongly_reminded(disturb: Disturb, shop: Reminders) -> list[int]:
        disturb(shop)
        return shop.wrongly_reminded()

    with ExitStack() as opened, ThreadPoolExecutor(len(DRILLS) + 1) as threads:
        own = opened.enter_context(local_stack(tmp_path_factory.mktemp("servers")))

        def the_broker_stands_still(shop: Reminders) -> None:
            _ready(shop)
            shop.pipeline.workers["identify"].pause()
            shop.order(ORDERED)
            own["kafka"].pause()
            shop.sleep_until_due()
            own["kafka"].resume()
            time.sleep(3)
            shop.pipeline.workers["identify"].resume()

        found = {}
        for name, (disturb, session_s) in {**DRILLS, THE_BROKER: (the_broker_stands_still, 6)}.items():
            settings = opened.enter_context(corner(own.settings if name == THE_BROKER else servers))
            home = tmp_path_factory.mktemp(name.replace(" ", "-"))
            shop = opened.enter_context(reminders(settings, home, changes={"session_timeout_s": session_s}))
            found[name] = threads.submit(wrongly_reminded, disturb, shop)
        yield found


@pytest.mark.parametrize("name", [*DRILLS, THE_BROKER])
def test_nobody_is_reminded_whose_order_was_in_the_log(drills: dict[str, Future[list[int]]], name: str) -> None:
    assert [] == drills[name].result()


FLAG = """
segments:
  - name: flag
    description: Looks a lot.
    when: {{performed: Product Viewed, at_least: {views}, within: 90d}}
  - name: viewer
    description: Looks now.
    when: {{performed: Product Viewed, within: 2s}}
"""
VERSIONS = {"old": FLAG.format(views=1), "new": FLAG.format(views=150)}


def test_workers_with_different_definitions_do_not_undo_each_other(servers: Addresses, tmp_path: Path) -> None:
    """As while workers are replaced one by one: each decides about the people whose events it reads, by timers too."""
    old, new = (definitions(tmp_path / name, **{"segments/own.yaml": text}) for name, text in VERSIONS.items())
    with corner(servers) as settings, reminders(settings, tmp_path, changes=old) as shop:
        shop.warm_up()
        shop.pipeline.start("profile", "profile 2", **{name: str(path) for name, path in new.items()})
        shop.wait_until_reading("profile", "profile 2")
        for turn in range(3):
            shop.look_at_lamps(CARTS, turn)
            time.sleep(6)  # they are no viewers any more, which a timer finds out
        shop.pipeline.wait(lambda: [6] * CARTS == [*map(len, shop.segment_changes("viewer").values())])
        flagged = shop.segment_changes("flag").values()

        assert 0 < len(flagged) < CARTS
        assert [] == [changes for changes in flagged if changes != ["segment_entered"]]
