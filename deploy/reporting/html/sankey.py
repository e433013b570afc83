"""Sankey diagram of paths: from channel to channel, touch by touch, until the conversion."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from deploy.reporting.html.charts import PALETTE, Row, Spec

OTHER = "(other)"
END = "(conversion)"

_MAX_CHANNELS = 6
"""Channels with a node of their own; the others are merged into `OTHER`."""
_NODE_WIDTH = 0.1
"""In distances between columns."""
_GAP = 0.02
"""Distance between nodes, in heights of the diagram."""
_CURVE_STEPS = 16
"""Points of a ribbon's edge."""


class Node(NamedTuple):
    """A channel at a position of the path: its column, and its vertical extent in heights of the diagram."""

    column: int
    name: str
    top: float
    bottom: float
    value: int


class Ribbon(NamedTuple):
    """A link between two nodes: its vertical position at both, and its height."""

    source: Node
    target: Node
    source_top: float
    target_top: float
    height: float
    value: int


def merge(rows: Sequence[Row]) -> Counter[tuple[int, str, str]]:
    """Return conversions by step, source and target, with rare channels merged into `OTHER`."""
    totals: Counter[str] = Counter()
    for row in rows:
        totals[row["source"]] += row["conversions"]
    kept = {name for name, _ in totals.most_common(_MAX_CHANNELS)} | {END}
    links: Counter[tuple[int, str, str]] = Counter()
    for row in rows:
        source, target = (name if name in kept else OTHER for name in (row["source"], row["target"]))
        links[row["step"], source, target] += row["conversions"]
    return links


def layout(links: Counter[tuple[int, str, str]]) -> tuple[list[Node], list[Ribbon]]:
    """Place nodes, the largest at the top and `END` at the bottom, and the ribbons between them.

    Args:
        links: Conversions by step, source and target; the source of step n is in column n, its target in n + 1.
    """
    into: Counter[tuple[int, str]] = Counter()
    out: Counter[tuple[int, str]] = Counter()
    for (step, source, target), value in links.items():
        out[step, source] += value
        into[step + 1, target] += value
    sizes = {key: max(into[key], out[key]) for key in into.keys() | out.keys()}
    columns = sorted({column for column, _ in sizes})
    total = max((sum(size for (at, _), size in sizes.items() if at == column) for column in columns), default=1)
    nodes: dict[tuple[int, str], Node] = {}
    for column in columns:
        top = 0.0
        names = [name for at, name in sizes if at == column]
        for name in sorted(names, key=lambda name: (name == END, name == OTHER, -sizes[column, name], name)):
            height = sizes[column, name] / total
            nodes[column, name] = Node(column, name, top, top + height, sizes[column, name])
            top += height + _GAP
    leaving = {key: node.top for key, node in nodes.items()}
    arriving = dict(leaving)
    ribbons = []
    for (step, source, target), value in sorted(
        links.items(),
        key=lambda link: (link[0][0], nodes[link[0][0], link[0][1]].top, nodes[link[0][0] + 1, link[0][2]].top),
    ):
        start, end, height = (step, source), (step + 1, target), value / total
        ribbons.append(Ribbon(nodes[start], nodes[end], leaving[start], arriving[end], height, value))
        leaving[start] += height
        arriving[end] += height
    return list(nodes.values()), ribbons


def chart(rows: Sequence[Row], height: int) -> Spec:
    """Return the Vega-Lite chart: nodes are bars, links are ribbons in the colour of their source."""
    nodes, ribbons = layout(merge(rows))
    names = sorted({node.name for node in nodes if node.name != END}, key=lambda name: (name == OTHER, name))
    color = {
        "field": "name",
        "scale": {
            "domain": [*names, END],
            "range": [
                *(PALETTE[place % 7] if name != OTHER else PALETTE[7] for place, name in enumerate(names)),
                "#777777",
            ],
        },
        "legend": None,
    }
    points = [point for number, ribbon in enumerate(ribbons) for point in _curve(number, ribbon)]
    boxes = [
        {
            "name": node.name, "x": node.column, "x2": node.column + _NODE_WIDTH, "y": node.top, "y2": node.bottom,
            "label": node.name.strip("()") if node.bottom - node.top > 0.025 else "",
            "middle": (node.top + node.bottom) / 2,
        }
        for node in nodes
    ]  # fmt: skip
    last = max((node.column for node in nodes), default=1)
    x = {"type": "quantitative", "scale": {"domain": [1, last + 0.75], "nice": False}}
    titles = {str(column): f"touch {column}" for column in range(1, last + 1)}
    axis = {
        "title": None, "grid": False, "domain": False, "ticks": False, "orient": "top",
        "values": list(range(1, last + 1)), "labelAlign": "left", "labelExpr": f"{titles}[datum.value]",
    }  # fmt: skip
    y = {"type": "quantitative", "scale": {"reverse": True, "nice": False}, "axis": None}
    return {
        "height": height,
        "layer": [
            {
                "data": {"values": points},
                "mark": {"type": "area", "opacity": 0.4},
                "encoding": {
                    "x": {**x, "field": "x", "axis": axis}, "y": {**y, "field": "y"}, "y2": {"field": "y2"},
                    "detail": {"field": "link"}, "color": color,
                },
            },
            {
                "data": {"values": boxes},
                "mark": {"type": "rect"},
                "encoding": {
                    "x": {**x, "field": "x"}, "x2": {"field": "x2"}, "y": {**y, "field": "y"}, "y2": {"field": "y2"},
                    "color": color,
                },
            },
            {
                "data": {"values": boxes},
                "mark": {"type": "text", "align": "left", "dx": 4},
                "encoding": {
                    "x": {**x, "field": "x2"}, "y": {**y, "field": "middle"}, "text": {"field": "label"},
                },
            },
        ],
    }  # fmt: skip


def _curve(number: int, ribbon: Ribbon) -> list[Row]:
    """Return the points of a ribbon along a smooth step from the right of its source to the left of its target."""
    begin, end = ribbon.source.column + _NODE_WIDTH, float(ribbon.target.column)
    points = []
    for step in range(_CURVE_STEPS + 1):
        share = step / _CURVE_STEPS
        smooth = share * share * (3 - 2 * share)
        top = ribbon.source_top + (ribbon.target_top - ribbon.source_top) * smooth
        points.append(
            {
                "link": number,
                "name": ribbon.source.name,
                "x": begin + (end - begin) * share,
                "y": top,
                "y2": top + ribbon.height,
            }
        )
    return points
