"""Creates the topics and the tables of the local stack, in a process of its own so that its memory is freed.

`python -m deploy.local.provision`; it prints one line for each step, or the error.
"""

from __future__ import annotations

import argparse
import sys

from deploy.settings import settings


def main() -> None:
    """Create the topics and migrate the state and ClickHouse, or do the first alone; exit code 1 when a step fails."""
    parser = argparse.ArgumentParser(prog="python -m deploy.local.provision", description=__doc__)
    parser.add_argument("--topics-only", action="store_true", help="leave ClickHouse alone")
    topics_only = parser.parse_args().topics_only
    from deploy.operations.provision import apply_topics, migrate
    from deploy.operations.state_migration import migrate_state

    doing = "create the topics"
    try:
        outcome = list(apply_topics(settings()).values())
        print(f"topics: {outcome.count('created')} created of {len(outcome)}")
        if not topics_only:
            doing = "migrate ClickHouse"
            applied = migrate(settings(), lambda advice: print(advice, file=sys.stderr))
            print("migrations applied: " + (", ".join(applied) or "none, all are there"))
            doing = "migrate the profiles in Redis"
            migrate_state(settings(), print)
    except Exception as error:  # noqa: BLE001  (of any library: its message is the help)
        sys.exit(f"could not {doing}: {error}")


if __name__ == "__main__":
    main()
