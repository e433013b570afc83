"""Laws of the watermark over a model of the pipeline: nothing that was in the log before it is unprocessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from processors.stream.watermark import MARGIN_MS, Watermark
from schemas.offsets import GroupProgress, LogProgress, Partition

SOURCES: list[Partition] = [("touchpoints", number) for number in range(3)]
TARGETS: list[Partition] = [("resolved", number) for number in range(2)]


@dataclass
class Group:
    """Consumers of some partitions, seen from outside.

    Attributes:
        log: Records by partition: the time at which an event came in, ms.
        read: The position up to which effects are published or stored.
        committed: What a successor starts from.
    """

    log: dict[Partition, list[int]]
    read: dict[Partition, int] = field(default_factory=dict)
    committed: dict[Partition, int] = field(default_factory=dict)

    def ends(self) -> dict[Partition, int]:
        return {place: len(records) for place, records in self.log.items()}

    def take(self, place: Partition, count: int) -> list[int]:
        start = self.read.get(place, 0)
        taken = self.log[place][start : start + count]
        self.read[place] = start + len(taken)
        return taken


@dataclass
class Pipeline:
    """Producers, `identify` and `profile`."""

    now: int = 1_000_000
    identify: Group = field(default_factory=lambda: Group({place: [] for place in SOURCES}))
    profile: Group = field(default_factory=lambda: Group({place: [] for place in TARGETS}))
    applied: set[int] = field(default_factory=set)

    def act(self, action: str, number: int, count: int) -> None:
        source, target = SOURCES[number % len(SOURCES)], TARGETS[number % len(TARGETS)]
        match action:
            case "publish":
                for _ in range(count):
                    self.now += 1
                    self.identify.log[source].append(self.now)
            case "wait":
                self.now += count * 1000
            case "identify":
                for at in self.identify.take(source, count):
                    self.profile.log[TARGETS[at % len(TARGETS)]].append(at)
            case "identify commits":
                self.identify.committed = dict(self.identify.read)
            case "identify dies":
                self.identify.read = dict(self.identify.committed)
            case "profile":
                self.applied.update(self.profile.take(target, count))
            case "profile commits":
                self.profile.committed = dict(self.profile.read)
            case "profile dies":
                self.profile.read = dict(self.profile.committed)

    def measure(self, meanwhile: Sequence[tuple[str, int, int]]) -> LogProgress:
        """Measure, while something else happens between any two readings."""
        at_ms = self.now
        steps = iter(meanwhile)
        identified = dict(self.identify.committed)
        self.happen(steps, 1)
        applied = dict(self.profile.committed)
        self.happen(steps, 1)
        touchpoints = self.identify.ends()
        self.happen(steps, 9)
        return LogProgress(at_ms, [GroupProgress(identified, touchpoints), GroupProgress(applied, self.profile.ends())])

    def happen(self, steps: object, count: int) -> None:
        for _, step in zip(range(count), steps, strict=False):  # type: ignore[call-overload]
            self.act(*step)


ACTIONS = [
    "publish", "wait", "identify", "identify commits", "identify dies", "profile", "profile commits", "profile dies",
]  # fmt: skip
steps = st.tuples(st.sampled_from(ACTIONS), st.integers(0, 5), st.integers(1, 4))
turns = st.lists(st.tuples(st.lists(steps, max_size=8), st.lists(steps, max_size=4)), max_size=25)


@given(turns)
def test_whatever_happens_everything_before_the_watermark_is_applied_and_it_comes_to_now(
    happens: list[tuple[list[tuple[str, int, int]], list[tuple[str, int, int]]]],
) -> None:
    pipeline, watermark, last = Pipeline(), Watermark(), 0
    for before, meanwhile in happens:
        for step in before:
            pipeline.act(*step)
        watermark.observe(pipeline.measure(meanwhile))
        received = {at for records in pipeline.identify.log.values() for at in records}

        assert {at for at in received if at <= watermark.current() + MARGIN_MS} <= pipeline.applied
        assert last <= watermark.current() <= pipeline.now
        last = watermark.current()

    for role in ("identify", "profile"):
        for number in range(6):
            pipeline.act(role, number, 10_000)
        pipeline.act(f"{role} commits", 0, 0)
    watermark.observe(pipeline.measure([]))

    assert pipeline.now - MARGIN_MS == watermark.current()
