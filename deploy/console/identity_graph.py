"""The identity graph of a person as SVG: former profiles, the person, and the identifiers with what linked them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

_ROW, _TOP, _WIDTH = 30, 16, 720
_MOST_IDENTIFIERS = 24


class GraphNode(NamedTuple):
    """A box of the picture: a profile, or an identifier as its keyed hash.

    Attributes:
        x: Left edge.
        y: Middle.
        width: Of the box.
        text: What it says.
        kind: `person`, `former` or `identifier`.
        evidence: What linked it: the change of the identity log; None: not known.
    """

    x: int
    y: int
    width: int
    text: str
    kind: str
    evidence: Mapping[str, Any] | None


class Graph(NamedTuple):
    """A picture.

    Attributes:
        width: In its own units.
        height: In its own units.
        nodes: Boxes.
        edges: Lines: x1, y1, x2, y2.
        left_out: Identifiers for which there was no room.
    """

    width: int
    height: int
    nodes: list[GraphNode]
    edges: list[tuple[int, int, int, int]]
    left_out: int


def draw(profile_id: str, members: Sequence[tuple[str, str]], changes: Sequence[Mapping[str, Any]]) -> Graph:
    """Lay out the graph: former profiles on the left, the person in the middle, identifiers on the right.

    Args:
        profile_id: The live profile.
        members: Its identifiers: anchor and type.
        changes: Of the identity log, in order, as `read_changes` returns them.
    """
    bound: dict[str, Mapping[str, Any]] = {}
    merges: dict[str, Mapping[str, Any]] = {}
    for change in changes:
        if change["kind"] == "merge" and change["from_profile_id"]:
            merges.setdefault(change["from_profile_id"], change)
        for anchor, _ in change["anchors"]:
            if change["kind"] in ("bind", "transfer", "split") or anchor not in bound:
                bound[anchor] = change
    shown = sorted(members, key=lambda one: (one[1], one[0]))[:_MOST_IDENTIFIERS]
    rows = max(len(shown), len(merges), 1)
    height = 2 * _TOP + rows * _ROW
    middle = height // 2
    person = GraphNode(290, middle, 140, profile_id[:8], "person", None)
    nodes, edges = [person], []
    for number, (former, change) in enumerate(merges.items()):
        y = _row(number, len(merges), height)
        nodes.append(GraphNode(0, y, 140, former[:8], "former", change))
        edges.append((140, y, 290, middle))
    for number, (anchor, kind) in enumerate(shown):
        y = _row(number, len(shown), height)
        nodes.append(GraphNode(520, y, 200, f"{kind} {anchor[:8]}", "identifier", bound.get(anchor)))
        edges.append((430, middle, 520, y))
    return Graph(_WIDTH, height, nodes, edges, len(members) - len(shown))


def _row(number: int, count: int, height: int) -> int:
    return height // 2 + round((number - (count - 1) / 2) * _ROW)
