"""The program `throughline`: answers health checks (`deploy/operations/health.py`), else runs `main.py`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    match sys.argv[1:]:
        case ["health", role] if not role.startswith("-"):
            from deploy.operations.health import print_health

            sys.exit(print_health(role))
        case _:
            from deploy.cli.main import main as run

            run()


if __name__ == "__main__":
    main()
