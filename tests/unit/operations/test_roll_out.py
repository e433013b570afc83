"""The roll-out of a winner changes weights in a journey's file, and nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from deploy.operations.definition_files import load
from deploy.operations.roll_out import RollOutError, with_winners
from schemas.journeys.definitions import Journey, MessageNode, RandomSplit

SHIPPED = Path("deploy/definitions/journeys")
WITHOUT_WEIGHTS = """\
name: tried
description: A split within an arm, and names with comments.
entry: {event: Signed Up}
steps:
  - random:
      - name: outer    # the first one
        steps:
          - random: [{name: x, steps: [{message: a}]}, {name: y}]
      - name: rest
"""


def rolled_out(text: str, tmp_path: Path, **winners: str) -> str:
    file = tmp_path / "journey.yaml"
    file.write_text(text, "utf-8")
    new = with_winners(file, {step.replace("_", "."): winner for step, winner in winners.items()}, "UTC")
    file.write_text(new, "utf-8")
    load(file, Journey)
    return new


def weights(text: str) -> dict[str, int]:
    journey = Journey.model_validate(yaml.safe_load(text))
    splits = [step for _, step in journey.walk() if isinstance(step, RandomSplit | MessageNode)]
    return {
        one.name: one.weight
        for step in splits
        for one in (step.random if isinstance(step, RandomSplit) else step.variants)
    }


def test_the_weights_of_a_shipped_split_are_replaced_and_every_other_line_stays(tmp_path: Path) -> None:
    text = (SHIPPED / "cross-sell.yaml").read_text("utf-8")

    new = rolled_out(text, tmp_path, **{"3": "category"})

    assert {"together": 0, "category": 100} == weights(new)
    changed = [(a.strip(), b.strip()) for a, b in zip(text.splitlines(), new.splitlines(), strict=True) if a != b]
    assert [("weight: 50", "weight: 0"), ("weight: 50", "weight: 100")] == changed


def test_variants_of_a_message_are_rolled_out_by_its_id(tmp_path: Path) -> None:
    file = tmp_path / "cart.yaml"
    shutil.copy(SHIPPED / "cart-abandonment.yaml", file)

    assert {"plain": 0, "coupon": 100} == weights(with_winners(file, {"last_reminder": "coupon"}, "UTC"))


def test_weights_are_added_where_there_are_none(tmp_path: Path) -> None:
    new = rolled_out(WITHOUT_WEIGHTS, tmp_path, **{"1": "outer", "1_outer_1": "y"})

    assert {"outer": 100, "rest": 0, "x": 0, "y": 100} == weights(new)
    assert "name: outer    # the first one\n        weight: 100\n" in new


@pytest.mark.parametrize(
    ("step", "winner", "said"),
    [
        ("1", "gone", "has outer, rest, and not 'gone'"),
        ("2", "outer", "has no split with variants"),
        ("1.outer.1.x.1", "a", "has no split with variants"),
    ],
)
def test_what_the_file_does_not_have_is_an_error(tmp_path: Path, step: str, winner: str, said: str) -> None:
    file = tmp_path / "journey.yaml"
    file.write_text(WITHOUT_WEIGHTS, "utf-8")

    with pytest.raises(RollOutError, match=said):
        with_winners(file, {step: winner}, "UTC")


def test_a_winner_is_rolled_out_once(tmp_path: Path) -> None:
    new = rolled_out(WITHOUT_WEIGHTS, tmp_path, **{"1": "rest"})

    with pytest.raises(RollOutError, match="for everybody already"):
        rolled_out(new, tmp_path, **{"1": "rest"})
