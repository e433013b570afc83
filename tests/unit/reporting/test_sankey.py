"""The Sankey diagram keeps every conversion: the inflow of a node equals its outflow, and ribbons fill nodes."""

from __future__ import annotations

from collections import Counter

import pytest

from deploy.reporting.html.sankey import END, OTHER, layout, merge


def link(step: int, source: str, target: str, conversions: int) -> dict[str, object]:
    return {"step": step, "source": source, "target": target, "conversions": conversions}


def test_rare_channels_are_merged() -> None:
    rows = [link(1, f"Channel {number}", END, 10 - number) for number in range(9)]

    merged = merge(rows)

    assert sum(range(2, 11)) == sum(merged.values())
    assert 4 + 3 + 2 == merged[1, OTHER, END]


def test_ribbons_fill_their_nodes() -> None:
    links = Counter(
        {(1, "Email", "Direct"): 3, (1, "Email", END): 1, (1, "Direct", "Direct"): 2, (2, "Direct", END): 5}
    )

    nodes, ribbons = layout(links)

    sizes = {(node.column, node.name): node.value for node in nodes}
    assert {(1, "Email"): 4, (1, "Direct"): 2, (2, "Direct"): 5, (2, END): 1, (3, END): 5} == sizes
    for node in nodes:
        into = sum(ribbon.height for ribbon in ribbons if ribbon.target == node)
        out = sum(ribbon.height for ribbon in ribbons if ribbon.source == node)
        assert node.bottom - node.top == pytest.approx(max(into, out))
    for ribbon in ribbons:
        assert ribbon.source.top - 1e-9 <= ribbon.source_top <= ribbon.source.bottom - ribbon.height + 1e-9
        assert ribbon.target.top - 1e-9 <= ribbon.target_top <= ribbon.target.bottom - ribbon.height + 1e-9


def test_the_end_is_below_and_nodes_do_not_overlap() -> None:
    nodes, _ = layout(Counter({(1, "Email", END): 9, (1, "Email", "Direct"): 1}))

    second = sorted((node for node in nodes if node.column == 2), key=lambda node: node.top)
    assert ["Direct", END] == [node.name for node in second]
    assert second[0].bottom < second[1].top


def test_no_links_have_an_empty_layout() -> None:
    assert ([], []) == layout(Counter())
