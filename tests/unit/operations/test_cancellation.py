"""Tasks end when their service stops, also those that lose a cancellation."""

from __future__ import annotations

import asyncio

from deploy.operations.cancellation import cancel_all


async def test_a_task_that_loses_a_cancellation_is_cancelled_again() -> None:
    lost: list[str] = []

    async def follow() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if lost:
                    raise
                lost.append("as wait_for does")

    async def fail() -> None:
        raise ValueError("it ended before")

    tasks = [asyncio.create_task(follow()), asyncio.create_task(fail())]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await cancel_all(tasks, again_s=0.01)

    assert (True, True, 1) == (tasks[0].cancelled(), tasks[1].done(), len(lost))


async def test_what_a_task_does_at_its_end_is_not_broken_off() -> None:
    closed: list[str] = []

    async def serve() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.3)
            closed.append("its connection")

    task = asyncio.create_task(serve())
    await asyncio.sleep(0)
    await cancel_all([task])

    assert ["its connection"] == closed


async def test_no_task_is_no_wait() -> None:
    await cancel_all(())
