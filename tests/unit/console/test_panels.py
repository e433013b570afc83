"""Panels: what an act outdates, also while it is computed."""

from __future__ import annotations

import asyncio
import threading

from deploy.console.panels import NotedClient, Panels


async def test_a_panel_that_was_computed_while_an_act_was_done_is_computed_anew() -> None:
    panels, state, begun, go_on = Panels(object), ["before"], threading.Event(), threading.Event()

    def read(_: NotedClient) -> str:
        found = state[0]
        begun.set()
        go_on.wait(10)
        return found

    first = asyncio.create_task(panels.get("state", read, wait_s=10))
    await asyncio.to_thread(begun.wait, 10)
    state[0] = "after"
    panels.forget()
    go_on.set()

    assert ["before", "after"] == [(await first).value, (await panels.get("state", read, wait_s=10)).value]
