"""Files of a lake are what the views show, and an export writes only the days that have changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.operations import lake as lake_operation
from deploy.operations.lake import DatasetExport, export
from deploy.operations.lake_files import Lake, LakeError, LocalLake, ObjectLake, open_lake
from tests.support.builders import DAY_ONE
from tests.support.warehouse import Warehouse, merged, ordered, person, resolved

parquet = pytest.importorskip("pyarrow.parquet")
arrow_files = pytest.importorskip("pyarrow.fs")
pytestmark = pytest.mark.integration

VIEWS = ("v_touchpoints", "v_conversions", "v_ltv")
DAYS = [(DAY_ONE + timedelta(days=number)).date().isoformat() for number in range(4)]
FIRST, SECOND, THIRD, FOURTH = DAYS
Exported = dict[str, tuple[list[str], list[str]]]


@contextmanager
def local(root: Path) -> Iterator[Lake]:
    with open_lake(str(root)) as found:
        yield found


@contextmanager
def objects(root: Path) -> Iterator[Lake]:
    """An object store by the interface of pyarrow's, on a disk."""
    scratch = root.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    root.mkdir(exist_ok=True)
    yield ObjectLake(arrow_files.SubTreeFileSystem(str(root), arrow_files.LocalFileSystem()), "bucket/lake", scratch)


def exported(tables: Warehouse, lake: Lake, *views: str, **more: Any) -> Exported:
    """Export; return the days that were written and removed."""
    done: list[DatasetExport] = export(tables.client, lake, views or VIEWS, timezone="UTC", **more)
    return {one.name: (one.written, one.removed) for one in done}


def manifest(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((root / "manifest.json").read_text("utf-8"))
    return content


def event_ids(root: Path) -> dict[str, str]:
    """Event ids with their people, read from the files that the manifest names."""
    found: dict[str, str] = {}
    for file in manifest(root)["datasets"]["v_touchpoints"]["files"].values():
        bytes_ = (root / file["path"]).read_bytes()
        assert (hashlib.sha256(bytes_).hexdigest(), len(bytes_)) == (file["sha256"], file["bytes"])
        rows = parquet.read_table(root / file["path"]).to_pylist()
        assert file["rows"] == len(rows)
        found |= {row["event_id"]: row["profile_id"] for row in rows}
    return found


@pytest.fixture
def history(tables: Warehouse) -> Warehouse:
    """Two people with events on three days."""
    tables.store(
        resolved("a1", 1, DAY_ONE, "Email"),
        resolved("b1", 2, DAY_ONE),
        resolved("a2", 1, DAY_ONE + timedelta(days=1)),
        ordered("o1", 1, DAY_ONE + timedelta(days=2)),
    )
    return tables


@pytest.mark.parametrize(
    ("opened", "below"), [pytest.param(local, "", id="directory"), pytest.param(objects, "bucket/lake", id="objects")]
)
def test_what_changes_rewrites_the_days_that_it_changes_and_no_other(
    history: Warehouse, tmp_path: Path, opened: Callable[[Path], Any], below: str
) -> None:
    root = tmp_path / "lake" / below
    with opened(tmp_path / "lake") as lake:
        first = exported(history, lake)
        at_first = event_ids(root)
        again = exported(history, lake)
        history.store(resolved("late", 2, DAY_ONE + timedelta(days=1)))
        late = exported(history, lake)
        history.change(merged(1, 2, [1]))
        after_merge = exported(history, lake)
        merged_people = event_ids(root)
        history.client.command(
            "DELETE FROM touchpoints WHERE event_id IN ('a2', 'late')", settings={"mutations_sync": 2}
        )
        erased = exported(history, lake, "v_touchpoints")

    nothing: tuple[list[str], list[str]] = ([], [])
    assert first == {
        "v_touchpoints": ([FIRST, SECOND, THIRD], []), "v_conversions": ([THIRD], []), "v_ltv": (["all"], [])
    }  # fmt: skip
    assert {"a1": person(1), "b1": person(2), "a2": person(1), "event of o1": person(1)} == at_first
    assert dict.fromkeys(VIEWS, nothing) == again
    assert {"v_touchpoints": ([SECOND], []), "v_conversions": nothing, "v_ltv": nothing} == late
    assert ([FIRST, SECOND, THIRD], [THIRD], ["all"]) == tuple(written for written, _ in after_merge.values())
    assert {person(2)} == set(merged_people.values())
    assert {"v_touchpoints": ([], [SECOND])} == erased
    assert {"a1", "b1", "event of o1"} == set(event_ids(root))
    assert not (root / f"v_touchpoints/{SECOND}.parquet").exists()


def test_the_manifest_says_as_of_when_in_which_schema_and_what_each_column_means(
    history: Warehouse, tmp_path: Path
) -> None:
    with local(tmp_path) as lake:
        exported(history, lake, "v_conversions")
    found = manifest(tmp_path)
    view = found["datasets"]["v_conversions"]

    assert ("2026-11-03T12:00:01.000Z", "UTC", 1) == (found["recorded_until"], found["timezone"], found["format"])
    assert found["schema_version"] >= 230
    assert ("converted_at", True) == (view["day_column"], all(column["comment"] for column in view["columns"]))


def test_an_event_before_1970_is_in_the_file_of_its_day(tables: Warehouse, tmp_path: Path) -> None:
    tables.store(resolved("old", 1, datetime(1969, 7, 20, 20, 17, tzinfo=UTC)))
    with local(tmp_path) as lake:
        first = exported(tables, lake, "v_touchpoints")
        again = exported(tables, lake, "v_touchpoints")

    assert ({"v_touchpoints": (["1969-07-20"], [])}, {"v_touchpoints": ([], [])}) == (first, again)
    assert {"old": person(1)} == event_ids(tmp_path)


def test_a_table_whose_rows_are_never_merged_is_written(tables: Warehouse, tmp_path: Path) -> None:
    tables.client.command("INSERT INTO attribution_models (goal, model, dimension) VALUES ('order', 'm', 'channel')")
    with local(tmp_path) as lake:
        [done] = export(tables.client, lake, ["attribution_models"], timezone="UTC")

    assert 1 == done.rows


def test_days_that_are_not_asked_for_stay_and_a_dry_run_writes_nothing(history: Warehouse, tmp_path: Path) -> None:
    second = date.fromisoformat(SECOND)
    with local(tmp_path) as lake:
        planned = exported(history, lake, "v_touchpoints", dry_run=True)
        untouched = not (tmp_path / "manifest.json").exists()
        exported(history, lake, "v_touchpoints")
        history.store(*(resolved(f"x{day}", 1, DAY_ONE + timedelta(days=day)) for day in range(4)))
        one_day = exported(history, lake, "v_touchpoints", first=second, last=second)
        rest = exported(history, lake, "v_touchpoints")

    assert ({"v_touchpoints": ([FIRST, SECOND, THIRD], [])}, True) == (planned, untouched)
    assert ([SECOND], [FIRST, THIRD, FOURTH]) == (one_day["v_touchpoints"][0], rest["v_touchpoints"][0])


def test_an_export_that_was_killed_goes_on_where_it_was(
    history: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    moved: list[str] = []

    class Dying(LocalLake):
        def put(self, file: Path, path: str) -> None:
            if path.endswith(f"{THIRD}.parquet"):
                raise Killed
            moved.append(path)
            super().put(file, path)

    monkeypatch.setattr(lake_operation, "CHECKPOINT_S", 0)
    with pytest.raises(Killed):
        exported(history, Dying(tmp_path), "v_touchpoints")
    left = [path.name for path in tmp_path.glob("*.part")]
    with local(tmp_path) as lake:
        rest = exported(history, lake, "v_touchpoints")

    assert [f"v_touchpoints-{THIRD}.part"] == left
    assert {"v_touchpoints": ([THIRD], [])} == rest
    assert 4 == len(event_ids(tmp_path))
    assert [] == list(tmp_path.glob("*.part"))


def test_a_table_is_written_without_columns_with_addresses(history: Warehouse, tmp_path: Path) -> None:
    ran = CliRunner().invoke(app, ["export", "parquet", "--out", str(tmp_path), "--tables", "touchpoints", "--json"])
    columns = {one["name"] for one in manifest(tmp_path)["datasets"]["touchpoints"]["columns"]}

    assert (0, [4]) == (ran.exit_code, [one["rows"] for one in json.loads(ran.stdout)])
    assert (True, set()) == ("event_id" in columns, columns & {"identifiers", "traits", "properties", "context"})


def test_what_cannot_be_written_is_said(history: Warehouse, tmp_path: Path) -> None:
    def said(*arguments: str) -> str:
        ran = CliRunner().invoke(app, ["export", "parquet", *arguments])
        assert 1 == ran.exit_code
        return ran.stderr

    with local(tmp_path), pytest.raises(LakeError, match="another export writes"), open_lake(str(tmp_path)):
        pass
    assert "no view or table v_nothing" in said("--out", str(tmp_path), "--views", "v_nothing")
    assert "v_funnel has parameters" in said("--out", str(tmp_path), "--views", "v_funnel")
    assert "no address of an object store" in said("--out", "nowhere://bucket", "--views", "v_ltv")
    (tmp_path / "manifest.json").write_text("{}", "utf-8")
    assert "of another kind" in said("--out", str(tmp_path), "--views", "v_ltv")
