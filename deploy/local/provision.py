"""Create the topics and the tables of the local stack, in a process of its own that gives its memory back.

`python -m deploy.local.provision`; what it did or why it failed is on standard output, in a line each.
"""

from __future__ import annotations

import argparse
import sys

from deploy.settings import settings


def main() -> None:
    """Run both steps, or the first alone; exit code 1 when one fails."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.provision", description=__doc__)
    parser.add_argument("--topics-only", action="store_true", help="leave ClickHouse alone")
    topics_only = parser.parse_args().topics_only
    from deploy.operations.provision import apply_topics, migrate

    doing = "create the topics"
    try:
        outcome = list(apply_topics(settings()).values())
        print(f"topics: {outcome.count('created')} created of {len(outcome)}")
        if not topics_only:
            doing = "migrate ClickHouse"
            print("migrations applied: " + (", ".join(migrate(settings())) or "none, all are there"))
    except Exception as error:  # noqa: BLE001  (of whatever library: the message is what helps)
        sys.exit(f"could not {doing}: {error}")


if __name__ == "__main__":
    main()
