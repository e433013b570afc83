"""Notes the acts of the command line in the audit log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sinks.clickhouse.audit_log import Outcome


@contextmanager
def noted_act(act: str, subject: str | Sequence[str], *, by: str = "", detail: str = "") -> Iterator[None]:
    """Note what is done in the block, and whether it ended or failed.

    Args:
        act: A verb.
        subject: A profile id, anchors, or names of journeys or of a segment; never an address. No names: all.
        by: Who; empty: the user of this machine.
        detail: More, in words.
    """
    import getpass

    from deploy.home import home
    from deploy.operations.audit import AuditTrail
    from deploy.settings import settings

    outcome: Outcome = "failed"
    try:
        yield
        outcome = "done"
    finally:
        on = subject if isinstance(subject, str) else ", ".join(subject) or "all"
        AuditTrail(settings(), home(), "cli").note(by or getpass.getuser(), act, on, outcome, detail)
