"""Charts as SVG without scripts and styles: columns over time, a line, a bar in a table; the page has the colours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from deploy.reporting.html.sankey import END, OTHER, Node, Ribbon

Series = Sequence[tuple[str, float]]
"""Labels and values in order."""

_WIDTH, _HEIGHT = 720, 120
_COLORS = 8


def columns(points: Series, unit: str = "", *, height: int = _HEIGHT) -> Markup:
    """Draw columns; each says its label and value when pointed at.

    Args:
        points: Label and value of each.
        unit: What the values count.
        height: Of the picture, in its own units of which it is 720 wide.
    """
    return stacked([(label, [value]) for label, value in points], [unit], height=height)


def stacked(points: Sequence[tuple[str, Sequence[float]]], names: Sequence[str], *, height: int = _HEIGHT) -> Markup:
    """Draw columns of several parts, one above the other.

    Args:
        points: Label of each column, and the values of its parts.
        names: Of the parts.
        height: Of the picture.
    """
    if not points:
        return Markup('<p class="none">Nothing in this period.</p>')
    highest = max((sum(values) for _, values in points), default=0) or 1
    step = _WIDTH / len(points)
    drawn = []
    for place, (label, values) in enumerate(points):
        bottom = float(height)
        for part, value in enumerate(values):
            length = value / highest * (height - 4)
            if value <= 0:
                continue
            bottom -= length
            said = escape(f"{label}: {value:,.10g} {names[part]}".rstrip())
            drawn.append(
                f'<rect class="c{part % _COLORS}" x="{place * step:.1f}" y="{bottom:.1f}" '
                f'width="{max(step - 1.5, 0.8):.1f}" height="{max(length, 0.8):.1f}"><title>{said}</title></rect>'
            )
    legend = ""
    if len(names) > 1:
        legend = (
            '<ul class="legend">'
            + "".join(
                f'<li><svg viewBox="0 0 9 9" aria-hidden="true"><rect class="c{part % _COLORS}" width="9" height="9"/>'
                f"</svg>{escape(name)}</li>"
                for part, name in enumerate(names)
            )
            + "</ul>"
        )
    said = escape(f"{points[0][0]} to {points[-1][0]}, at most {highest:,.10g} {names[0] if len(names) == 1 else ''}")
    return Markup(  # noqa: S704 - texts are escaped above
        f'<figure class="chart">{legend}<p class="highest">{highest:,.6g} {escape(names[0] if len(names) == 1 else "")}'
        f'</p><svg viewBox="0 0 {_WIDTH} {height}" preserveAspectRatio="none" role="img" aria-label="{said}">'
        f'{"".join(drawn)}</svg><p class="axis"><span>{escape(points[0][0])}</span>'
        f"<span>{escape(points[-1][0])}</span></p></figure>"
    )


def line(points: Series, unit: str = "", *, height: int = _HEIGHT) -> Markup:
    """Draw a line with the area below it."""
    if not points:
        return Markup('<p class="none">Nothing in this period.</p>')
    highest = max(value for _, value in points) or 1
    step = _WIDTH / max(1, len(points) - 1)
    places = [
        f"{place * step:.1f},{height - value / highest * (height - 4):.1f}" for place, (_, value) in enumerate(points)
    ]
    if len(places) == 1:
        places.append(f"{_WIDTH},{places[0].partition(',')[2]}")
    area = f"0,{height} {' '.join(places)} {_WIDTH},{height}"
    said = escape(
        f"{points[0][0]} to {points[-1][0]}: from {points[0][1]:,.10g} to {points[-1][1]:,.10g} {unit}".rstrip()
    )
    return Markup(  # noqa: S704 - texts are escaped above
        f'<figure class="chart"><p class="highest">{highest:,.6g} {escape(unit)}</p>'
        f'<svg viewBox="0 0 {_WIDTH} {height}" preserveAspectRatio="none" role="img" aria-label="{said}">'
        f'<polygon class="area" points="{area}"/><polyline class="line" points="{" ".join(places)}"/></svg>'
        f'<p class="axis"><span>{escape(points[0][0])}</span><span>{escape(points[-1][0])}</span></p></figure>'
    )


def bar(value: float | None, highest: float | None, part: int = 0) -> Markup:
    """Draw a bar of a table's cell, as long as the value's share of the highest one."""
    share = 0.0 if not value or not highest else min(1.0, max(0.0, float(value) / float(highest)))
    return Markup(  # noqa: S704 - numbers alone
        f'<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="c{part % _COLORS}" width="{share * 100:.1f}" height="8"/></svg>'
    )


class FlowBox(NamedTuple):
    """A place of a map of paths: its rectangle, what it says, and the number of its colour."""

    x: float
    y: float
    width: float
    height: float
    name: str
    value: int
    part: int


class FlowBand(NamedTuple):
    """A band from place to place: the path of SVG, what it says when pointed at, and the number of its colour."""

    path: str
    said: str
    part: int


class Flow(NamedTuple):
    """A map of paths, in units of its own.

    Attributes:
        width: Of the picture.
        height: Of the picture.
        columns: Left edge and heading of each column.
        boxes: Places.
        bands: What flows between them.
    """

    width: float
    height: float
    columns: list[tuple[float, str]]
    boxes: list[FlowBox]
    bands: list[FlowBand]


def flow(nodes: Sequence[Node], ribbons: Sequence[Ribbon], *, column: float = 200, height: float = 320) -> Flow:
    """Lay out a map of paths.

    Args:
        nodes: Places, with their extents in heights of the picture.
        ribbons: Between them.
        column: Distance of two columns.
        height: Of the picture without its heading.
    """
    names = sorted({node.name for node in nodes if node.name != END}, key=lambda name: (name == OTHER, name))
    parts = {name: place % (_COLORS - 1) for place, name in enumerate(names) if name != OTHER}
    first = min(node.column for node in nodes)
    top, bar_width = 22.0, 14.0

    def left(node: Node) -> float:
        return (node.column - first) * column

    boxes = [
        FlowBox(
            left(node), top + node.top * height, bar_width, max((node.bottom - node.top) * height, 1), node.name,
            node.value, parts.get(node.name, _COLORS - 1),
        )
        for node in nodes
    ]  # fmt: skip
    bands = []
    for one in ribbons:
        start, end = left(one.source) + bar_width, left(one.target)
        middle, thick = (start + end) / 2, one.height * height
        upper, lower = top + one.source_top * height, top + one.target_top * height
        path = (
            f"M{start:.1f} {upper:.1f}C{middle:.1f} {upper:.1f} {middle:.1f} {lower:.1f} {end:.1f} {lower:.1f}"
            f"V{lower + thick:.1f}C{middle:.1f} {lower + thick:.1f} {middle:.1f} {upper + thick:.1f} {start:.1f} "
            f"{upper + thick:.1f}Z"
        )
        said = f"{one.source.name} to {one.target.name.strip('()')}: {one.value:,}"
        bands.append(FlowBand(path, said, parts.get(one.source.name, _COLORS - 1)))
    bottom = max(box.y + box.height for box in boxes)
    columns = sorted({(left(node), f"touch {node.column}") for node in nodes if node.name != END})
    return Flow(max(map(left, nodes)) + column * 0.75, bottom + 6, columns, boxes, bands)
