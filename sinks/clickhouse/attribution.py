"""Attribution: reads paths for learned models and stores their results; refreshes, checks and compares stored credits.

Every function takes a clickhouse-connect client that is connected to the product's database.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sinks.clickhouse.client import without_deduplication
from sinks.clickhouse.reports import AttributionOptions

PathCount = tuple[Sequence[str], int, Decimal, float, int]
"""A path's keys in order, its conversions, their revenue, the sum of the revenues' squares, its null journeys."""

# The fingerprint computed from the row, not its column `fingerprint`, with the formula of attribution_to_store.
_IN_STORE = """
    SELECT conversion_type, conversion_id, sipHash64(toString(tuple(day, profile_id, converted_at, revenue,
        net_revenue, currency, is_first, touches, models, credits))) AS fingerprint
    FROM attribution_stored FINAL
"""
_LIVE = "attribution_to_store(start_ms = {start:Int64}, stop_ms = {stop:Int64})"
_PERIOD = (
    "converted_at >= fromUnixTimestamp64Milli({start:Int64}, 'UTC')"
    " AND converted_at < fromUnixTimestamp64Milli({stop:Int64}, 'UTC')"
)


def path_counts(client: Any, options: AttributionOptions) -> list[PathCount]:
    """Read every distinct path with its conversions, revenue and null journeys."""
    return list(
        client.query(
            """
            SELECT path, conversions, revenue, squares, null_journeys
            FROM attribution_paths(
                start_ms = {start:Int64}, stop_ms = {stop:Int64}, lookback_ms = {lookback:Int64}, goal = {goal:String},
                scope = {scope:String}, repeats = {repeats:String}, dimension = {by:String},
                contacts = {contacts:String}, only = {only:Array(String)}, without = {without:Array(String)},
                markets = {markets:Array(String)})
            """,
            parameters=options.parameters(),
        ).result_rows
    )


@dataclass(frozen=True, slots=True)
class LearnedRow:
    """The result of a learned model for a key; see the columns of `attribution_models`."""

    model: str
    key: str
    removal_effect: float | None
    share: float
    conversions: float
    revenue: float
    share_low: float | None
    share_high: float | None
    revenue_low: float | None
    revenue_high: float | None
    journeys: int


def insert_learned(client: Any, run: int, goal: str, options: AttributionOptions, rows: Iterable[LearnedRow]) -> None:
    """Store a run, for the views `v_attribution_markov` and `v_attribution_shapley`.

    Args:
        client: The client.
        run: When it was computed, milliseconds since 1970.
        goal: The conversion type; `all`: every type.
        options: The period and filters of the run.
        rows: The results.
    """
    columns = [
        "run", "goal", "dimension", "model", "model_order", "key", "removal_effect", "share", "conversions", "revenue",
        "share_low", "share_high", "revenue_low", "revenue_high", "journeys", "start_at", "stop_at", "lookback_ms",
    ]  # fmt: skip
    lookback = options.parameters()["lookback"]
    values = [
        [
            run, goal, options.by, row.model, _order(row.model), row.key, row.removal_effect, row.share,
            row.conversions, row.revenue, row.share_low, row.share_high, row.revenue_low, row.revenue_high,
            row.journeys, options.start, options.stop, lookback,
        ]
        for row in rows
    ]  # fmt: skip
    client.insert("attribution_models", values, column_names=columns, settings=without_deduplication())


def latest_run(client: Any, goal: str, dimension: str) -> int:
    """Return when learned models were last computed, milliseconds since 1970; 0: never."""
    return int(
        client.query(
            "SELECT max(run) FROM attribution_models WHERE goal = {goal:String} AND dimension = {by:String}",
            parameters={"goal": goal, "by": dimension},
        ).first_row[0]
    )


def refresh(client: Any, version: int, start: datetime, stop: datetime, *, anew: bool = False) -> int:
    """Refresh the stored credits of the conversions of a period; only changed conversions are written.

    Args:
        client: The client.
        version: Number of the new version, milliseconds since 1970; higher than every earlier one.
        start: The first instant of the period.
        stop: The first instant after it.
        anew: Sum up every day again, also without a changed conversion.

    Returns:
        How many conversions changed, new and deleted ones included.
    """
    parameters = {**AttributionOptions(start=start, stop=stop).parameters(), "version": version}
    columns = (
        "conversion_type, conversion_id, day, profile_id, converted_at, revenue, net_revenue, currency, is_first,"
        " touches, models, credits, fingerprint"
    )
    client.command(
        f"""
        INSERT INTO attribution_stored ({columns}, version, is_deleted)
        SELECT {columns}, {{version:UInt64}}, 0 FROM {_LIVE}
        WHERE (conversion_type, conversion_id, fingerprint) NOT IN ({_IN_STORE})
        """,  # noqa: S608
        parameters=parameters,
        settings=without_deduplication(),
    )
    client.command(
        f"""
        INSERT INTO attribution_stored ({columns}, version, is_deleted)
        SELECT {columns}, {{version:UInt64}}, 1 FROM attribution_stored FINAL
        WHERE {_PERIOD} AND (conversion_type, conversion_id) NOT IN
            (SELECT conversion_type, conversion_id FROM v_conversions)
        """,  # noqa: S608
        parameters=parameters,
        settings=without_deduplication(),
    )
    _refresh_days(client, version, anew=anew)
    return int(
        client.query(
            "SELECT uniqExact(conversion_type, conversion_id) FROM attribution_history"
            " WHERE version = {version:UInt64}",
            parameters=parameters,
        ).first_row[0]
    )


_ADDED_UP = """
    SELECT dimension, conversion_type, day, model, key, sum(weight) AS conversions,
        sum(weight * toFloat64(revenue)) AS revenue, sum(weight * toFloat64(net_revenue)) AS net_revenue,
        sum(weight * is_first) AS new_customers
    FROM
    (
        SELECT *, touch, weights
        FROM attribution_stored FINAL
        ARRAY JOIN touches AS touch, credits AS weights
        WHERE {}
    )
    ARRAY JOIN models AS model, weights AS weight
    ARRAY JOIN ['channel', 'campaign', 'creative', 'product'] AS dimension,
        [touch.channel, touch.campaign, touch.creative, touch.product_id] AS key
    GROUP BY dimension, conversion_type, day, model, key
"""


def _refresh_days(client: Any, version: int, *, anew: bool) -> None:
    """Sum up again each day that has or had a changed conversion, or every day."""
    of_touched = _ADDED_UP.format("(conversion_type, day) IN (SELECT conversion_type, day FROM touched)")
    client.command(
        f"""
        INSERT INTO attribution_days (dimension, conversion_type, day, credits, version)
        WITH touched AS
        (
            SELECT DISTINCT conversion_type, day
            FROM attribution_history
            WHERE {{anew:Bool}} OR (conversion_type, conversion_id) IN
                (SELECT conversion_type, conversion_id FROM attribution_history WHERE version = {{version:UInt64}})
        )
        SELECT
            dimension,
            conversion_type,
            day,
            groupArrayIf((model, key, conversions, revenue, net_revenue, new_customers), model != '') AS credits,
            {{version:UInt64}} AS version
        FROM
        (
            {of_touched}
            UNION ALL
            SELECT arrayJoin(['channel', 'campaign', 'creative', 'product']), conversion_type, day, '', '', 0, 0, 0, 0
            FROM touched
        )
        GROUP BY dimension, conversion_type, day
        """,  # noqa: S608
        parameters={"version": version, "anew": anew},
        settings=without_deduplication(),
    )


@dataclass(frozen=True, slots=True)
class CreditDifference:
    """A day and model whose orders, conversions and credits do not agree; see the columns of `v_reconciliation`."""

    day: date
    conversion_type: str
    model: str
    orders: int
    conversions: int
    credits: float
    revenue: Decimal
    credited_revenue: float


@dataclass(frozen=True, slots=True)
class CreditCheck:
    """The result of comparing credits with conversions and stored credits with live ones.

    Attributes:
        days: Days and models compared.
        alerts: Those with a difference.
        version: Version of the stored credits; 0: nothing is stored yet.
        conversions: Live conversions.
        outdated: Conversions whose stored credits differ from the live ones, on either side only included.
        days_off: Days of a goal whose stored sums differ from the sums of the stored credits.
        warnings: Order ids that are probably those of two orders, with what to do.
    """

    days: int
    alerts: list[CreditDifference]
    version: int
    conversions: int
    outdated: int
    days_off: int
    warnings: list[str]


def check(client: Any) -> CreditCheck:
    """Compare credits with conversions and orders, and stored credits with live ones."""
    days = client.query("SELECT count() FROM v_reconciliation").first_row[0]
    alerts = client.query(
        "SELECT day, conversion_type, model, orders, conversions, credits, revenue, credited_revenue"
        " FROM v_reconciliation WHERE alert ORDER BY day, conversion_type, model"
    ).result_rows
    version = int(client.query("SELECT max(version) FROM attribution_stored").first_row[0])
    conversions, outdated = client.query(
        f"""
        SELECT countIf(l.conversion_id != ''), countIf(l.fingerprint != s.fingerprint)
        FROM (SELECT conversion_type, conversion_id, fingerprint FROM {_LIVE}) AS l
        FULL JOIN ({_IN_STORE}) AS s
            ON s.conversion_type = l.conversion_type AND s.conversion_id = l.conversion_id
        """,  # noqa: S608
        parameters=AttributionOptions().parameters(),
    ).first_row
    days_off = client.query(
        f"""
        SELECT uniqExact(conversion_type, day)
        FROM
        (
            SELECT conversion_type, day
            FROM
            (
                SELECT * FROM ({_ADDED_UP.format("true")})
                UNION ALL
                SELECT dimension, conversion_type, day, model, key, -conversions, -revenue, -net_revenue, -new_customers
                FROM v_attribution_stored_by_day
            )
            GROUP BY dimension, conversion_type, day, model, key
            HAVING greatest(abs(sum(conversions)), abs(sum(new_customers))) > 1e-6
                OR greatest(abs(sum(revenue)), abs(sum(net_revenue))) >= 0.005
        )
        """  # noqa: S608
    ).first_row[0]
    unlike = outdated if version else 0
    conflicts = client.query("SELECT warning FROM v_order_conflicts ORDER BY first_at, order_id").result_rows
    warnings = [str(warning) for (warning,) in conflicts]
    return CreditCheck(
        days, [CreditDifference(*row) for row in alerts], version, conversions, unlike, days_off, warnings
    )


@dataclass(frozen=True, slots=True)
class CreditChange:
    """The credits of a key by a model at one version and at a later one.

    Attributes:
        model: The model.
        key: Channel, campaign, creative or product.
        conversions_before: Credited conversions at the earlier version.
        conversions_after: And at the later one.
        revenue_before: Credited revenue after refunds, likewise.
        revenue_after: And at the later one.
    """

    model: str
    key: str
    conversions_before: float
    conversions_after: float
    revenue_before: float
    revenue_after: float


def versions(client: Any) -> list[tuple[int, int]]:
    """List the stored versions, newest first, each with how many conversions it changed."""
    rows = client.query(
        "SELECT version, uniqExact(conversion_type, conversion_id) FROM attribution_history"
        " GROUP BY version ORDER BY version DESC"
    ).result_rows
    return [(int(version), int(count)) for version, count in rows]


def changes(client: Any, before: int, after: int, by: str = "channel") -> list[CreditChange]:
    """Compare two versions of the stored credits: the keys whose credit changed, largest change of revenue first.

    Args:
        client: The client.
        before: The earlier version; 0: before the first.
        after: The later version.
        by: channel, campaign, creative or product.
    """
    rows = client.query(
        """
        WITH changed AS
        (
            SELECT conversion_type, conversion_id FROM attribution_history
            WHERE version > {before:UInt64} AND version <= {after:UInt64}
        )
        SELECT model, key, sumIf(credit, NOT later), sumIf(credit, later), sumIf(worth, NOT later), sumIf(worth, later)
        FROM
        (
            SELECT
                later,
                model,
                multiIf({by:String} = 'channel', touch.channel, {by:String} = 'campaign', touch.campaign,
                    {by:String} = 'creative', touch.creative, touch.product_id) AS key,
                weight AS credit,
                weight * toFloat64(net_revenue) AS worth
            FROM
            (
                SELECT *, touch, weights
                FROM
                (
                    SELECT *, false AS later FROM attribution_history
                    WHERE version <= {before:UInt64} AND (conversion_type, conversion_id) IN (SELECT * FROM changed)
                    ORDER BY version DESC LIMIT 1 BY conversion_type, conversion_id
                    UNION ALL
                    SELECT *, true AS later FROM attribution_history
                    WHERE version <= {after:UInt64} AND (conversion_type, conversion_id) IN (SELECT * FROM changed)
                    ORDER BY version DESC LIMIT 1 BY conversion_type, conversion_id
                )
                ARRAY JOIN touches AS touch, credits AS weights
                WHERE NOT is_deleted
            )
            ARRAY JOIN models AS model, weights AS weight
        )
        GROUP BY model, key
        """,
        parameters={"before": before, "after": after, "by": by},
    ).result_rows
    found = [CreditChange(*row) for row in rows]
    moved = [
        row
        for row in found
        if abs(row.conversions_after - row.conversions_before) > 1e-9
        or abs(row.revenue_after - row.revenue_before) > 0.005
    ]
    return sorted(moved, key=lambda row: (row.model, -abs(row.revenue_after - row.revenue_before), row.key))


@dataclass(frozen=True, slots=True)
class SettlementTimes:
    """The time up to which credits are settled; see the columns of `v_attribution_settled`."""

    data_until: datetime
    lateness_p99_s: float
    lateness_p999_s: float
    touch_to_conversion_p50_s: float
    touch_to_conversion_p95_s: float
    settled_until: datetime
    touches_settled_until: datetime


def settled(client: Any) -> SettlementTimes:
    """Return the time up to which credits hardly change, from the lateness of events and the time to convert."""
    return SettlementTimes(*client.query("SELECT * FROM v_attribution_settled").first_row)


def experiments(client: Any) -> list[dict[str, Any]]:
    """Read the lift of each experiment against its holdout: rows of `v_experiments`, none if there is no such view."""
    there = client.query(
        "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = 'v_experiments'"
    ).first_row[0]
    return list(client.query("SELECT * FROM v_experiments").named_results()) if there else []


def _order(model: str) -> int:
    return int(model.split("_")[1]) if model.startswith("markov_") else 0
