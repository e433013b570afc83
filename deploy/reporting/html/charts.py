"""Charts of the report: Vega-Lite specifications, rendered to SVG by vl-convert.

Text and grid lines are rendered in placeholder colours that become CSS variables, so that one SVG serves a light page,
a dark page and paper. Marks have colours that are distinct on all three, also with most colour blindness (Paul Tol's
bright scheme). Each chart exists in a narrow size, for a phone, and a wide one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

Row = dict[str, Any]
Spec = dict[str, Any]

NARROW, WIDE = 330, 700
"""Widths of the two sizes in pixels."""

PALETTE = ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#BB7744", "#888888")
STATES = {
    "reachable": "#228833",
    "not_asked": "#66CCEE",
    "stale": "#CCBB44",
    "bounced": "#EE6677",
    "opted_out": "#AA3377",
    "no_address": "#999999",
}

_INK, _MUTED, _GRID = "#010101", "#020202", "#030303"
# The default format has one unit for all labels of an axis: 0k, 0.2k, …
_SPARSE_AXIS = {"tickCount": 4, "labelExpr": "format(datum.value, '~s')"}
_VARIABLES = {_INK: "var(--ink)", _MUTED: "var(--muted)", _GRID: "var(--grid)"}
_CONFIG: Spec = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": _INK, "titleColor": _MUTED, "tickColor": _GRID, "domainColor": _GRID, "gridColor": _GRID,
        "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "labelLimit": 120, "titlePadding": 10,
    },
    "legend": {
        "labelColor": _INK, "titleColor": _MUTED, "labelFontSize": 11, "orient": "top", "title": None,
        "symbolType": "square",
    },
    "text": {"color": _INK, "fontSize": 11},
}  # fmt: skip


def svg(spec: Spec, width: int) -> str:
    """Render a chart.

    Args:
        spec: Vega-Lite specification without a width.
        width: Width of the whole SVG in pixels.

    Returns:
        An `<svg>` element whose neutral colours are CSS variables of the page.
    """
    import vl_convert  # an extra of the distribution

    whole = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "config": _CONFIG,
        "autosize": {"type": "fit", "contains": "padding"},
        "width": width,
        "padding": {"left": 14, "right": 26, "top": 4, "bottom": 4},  # room for a wider font of the reader
        **spec,
    }
    drawn = vl_convert.vegalite_to_svg(whole)
    for color, variable in _VARIABLES.items():
        drawn = drawn.replace(color, variable)
    # The page sets the size, and ids must not collide with those of another chart.
    drawn = re.sub(r' width="[\d.]+" height="[\d.]+"', "", drawn, count=1)
    return re.sub(r'\sid="[^"]*"', "", drawn) if "url(#" not in drawn else drawn


def attribution(rows: Sequence[Row], models: Sequence[str], width: int, keys: int = 10) -> Spec:
    """Bars of credited revenue by channel, a bar for each model; intervals where `low` and `high` are not None."""
    top = list(dict.fromkeys(row["key"] for row in rows))[:keys]
    shown = [row for row in rows if row["key"] in top]
    place = {"field": "key", "type": "nominal", "sort": top, "title": None}
    offset = {"field": "model", "sort": list(models), "scale": {"paddingInner": 0.1}}
    layers: list[Spec] = [
        {
            "mark": {"type": "bar"},
            "encoding": {
                "x": {"field": "revenue", "type": "quantitative", "title": "credited revenue", "axis": _SPARSE_AXIS},
                "color": _color("model", models, columns=2 if width < WIDE else 6),
            },
        }
    ]
    if any(row["low"] is not None for row in shown):
        layers.append(
            {
                "transform": [{"filter": "isValid(datum.low)"}],
                "mark": {"type": "rule", "color": _INK},
                "encoding": {"x": {"field": "low", "type": "quantitative"}, "x2": {"field": "high"}},
            }
        )
    return {
        "data": {"values": shown},
        "height": max(1, len(top)) * (7 * len(models) + 8),
        "encoding": {"y": place, "yOffset": offset},
        "layer": layers,
    }


def returns(rows: Sequence[Row]) -> Spec:
    """Bars of ROMI by channel."""
    order = [row["channel"] for row in rows]
    return {
        "data": {"values": list(rows)},
        "height": {"step": 24},
        "encoding": {
            "y": {"field": "channel", "type": "nominal", "sort": order, "title": None},
            "x": {"field": "romi", "type": "quantitative", "title": "ROMI", "axis": {"format": ".0%", "tickCount": 4}},
        },
        "layer": [
            {
                "mark": {"type": "bar", "height": 14},
                "encoding": {
                    "color": {"condition": {"test": "datum.romi < 0", "value": PALETTE[1]}, "value": PALETTE[0]}
                },
            },
            {
                "mark": {"type": "text", "align": "left", "dx": 4},
                "transform": [{"calculate": "max(0, datum.romi)", "as": "end"}],
                "encoding": {
                    "text": {"field": "romi", "type": "quantitative", "format": ",.0%"},
                    "x": {"field": "end", "type": "quantitative"},
                },
            },
        ],
    }  # fmt: skip


def funnel(rows: Sequence[Row]) -> Spec:
    """Bars of people by step, with the share of the first step."""
    return {
        "data": {"values": [{**row, "label": f"{row['people']:,} · {row['from_first']:.0%}"} for row in rows]},
        "height": {"step": 40},
        "encoding": {
            "y": {"field": "name", "type": "nominal", "sort": [row["name"] for row in rows], "title": None},
            "x": {
                "field": "people",
                "type": "quantitative",
                "title": "people",
                "axis": _SPARSE_AXIS,
            },
        },
        "layer": [
            {"mark": {"type": "bar", "height": 26, "color": PALETTE[0], "opacity": 0.75}},
            {
                "mark": {"type": "text", "align": "left", "dx": 5},
                "encoding": {"text": {"field": "label"}, "x": {"datum": 0}},
            },
        ],
    }


def cohorts(rows: Sequence[Row], width: int) -> Spec:
    """Heat map of retention by cohort and week since; the first week, always 100 %, is left out."""
    later = [{**row, "cohort": str(row["cohort"])[5:]} for row in rows if row["number"] > 0]
    layers: list[Spec] = [
        {
            "mark": {"type": "rect", "color": PALETTE[0], "stroke": _GRID, "strokeWidth": 0.5},
            "encoding": {
                "opacity": {
                    "field": "retention",
                    "type": "quantitative",
                    "scale": {"domainMin": 0, "range": [0.04, 1]},
                    "legend": {"format": ".0%", "symbolFillColor": PALETTE[0], "tickCount": 4, "title": "came back"},
                }
            },
        }
    ]
    if width >= WIDE:
        text = {"field": "retention", "type": "quantitative", "format": ".0%"}
        layers.append({"mark": {"type": "text", "fontSize": 10}, "encoding": {"text": text}})
    return {
        "data": {"values": later},
        "height": {"step": 22},
        "encoding": {
            "y": {"field": "cohort", "type": "ordinal", "title": None},
            "x": {"field": "number", "type": "ordinal", "title": "weeks since", "axis": {"labelAngle": 0}},
        },
        "layer": layers,
    }


def frequency(rows: Sequence[Row], channels: Sequence[str], width: int) -> Spec:
    """Lines of revenue for each person-week by messages a week, with intervals; rows have `low` and `high`."""
    return {
        "data": {"values": list(rows)},
        "height": 260,
        "encoding": {
            "x": {"field": "messages", "type": "ordinal", "title": "messages a week", "axis": {"labelAngle": 0}},
            "color": _color("channel", channels, columns=3 if width < WIDE else 8),
            "xOffset": {"field": "channel", "sort": list(channels)},
        },
        "layer": [
            {
                "mark": {"type": "rule", "strokeWidth": 1.5, "opacity": 0.7},
                "encoding": {
                    "y": {"field": "low", "type": "quantitative", "title": "revenue a person and week"},
                    "y2": {"field": "high"},
                },
            },
            {
                "mark": {"type": "point", "filled": True, "size": 55, "opacity": 1},
                "encoding": {"y": {"field": "value", "type": "quantitative"}},
            },
        ],
    }


def reachability(rows: Sequence[Row], width: int) -> Spec:
    """Stacked bars of people by channel and reachability state."""
    parts = [
        {"channel": row["channel"], "state": state.replace("_", " "), "people": row[state], "order": order}
        for row in rows
        for order, state in enumerate(STATES)
    ]
    names = [state.replace("_", " ") for state in STATES]
    return {
        "data": {"values": parts},
        "height": {"step": 30},
        "mark": {"type": "bar", "height": 20},
        "encoding": {
            "y": {"field": "channel", "type": "nominal", "sort": [row["channel"] for row in rows], "title": None},
            "x": {
                "field": "people", "type": "quantitative", "stack": "zero", "title": "people", "axis": _SPARSE_AXIS,
            },
            "color": {
                "field": "state", "scale": {"domain": names, "range": list(STATES.values())},
                "legend": {"columns": 3 if width < WIDE else 6},
            },
            "order": {"field": "order"},
        },
    }  # fmt: skip


def _color(field: str, domain: Iterable[str], *, columns: int) -> Spec:
    names = list(domain)
    colors = [PALETTE[place % len(PALETTE)] for place in range(len(names))]
    return {"field": field, "scale": {"domain": names, "range": colors}, "legend": {"columns": columns}}
