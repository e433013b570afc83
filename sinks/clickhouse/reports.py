"""Reports as data, for the command line, the demo and notebooks: attribution, accounting, settings of the views.

Every function takes a clickhouse-connect client that is connected to the product's database.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Literal

from schemas.durations import DAY_MS
from schemas.time import ms_of_time
from sinks.clickhouse.client import without_deduplication

Dimension = Literal["channel", "campaign", "creative", "product"]
Scope = Literal["all", "since_previous"]
Repeats = Literal["keep", "collapse"]
Contacts = Literal["all", "clicks", "views"]

FIRST = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime(2101, 1, 1, tzinfo=UTC)
"""Events are of the years 1970 to 2100."""


@dataclass(frozen=True, slots=True)
class AttributionOptions:
    """Parameters of an attribution report.

    Attributes:
        by: The key: marketing channel, campaign, creative or product.
        models: Names of models; empty: all.
        goal: A conversion type; `all`; empty: the first goal of the touches file.
        start: The first instant of the period.
        stop: The first instant after it.
        lookback_days: Length of a conversion's window, in days of 24 hours.
        half_life_days: Half-life of `time_decay`, in days.
        scope: `all`, or only touches since the person's previous conversion of the goal.
        repeats: `keep`, or count a run of touches of one channel once.
        timezone: Time zone of the days of spend; empty: that of the settings.
        milestone: The conversion type that is the milestone of `w_shaped`; empty: that of the settings.
        contacts: Which touches count: `views` were only seen or sent, `clicks` are all others.
        only: Marketing channels that count; empty: all.
        without: Marketing channels that do not count.
        markets: Only conversions and spend of these markets; empty: all, and spend of no market.
    """

    by: Dimension = "channel"
    models: tuple[str, ...] = ()
    goal: str = ""
    start: datetime = FIRST
    stop: datetime = LAST
    lookback_days: float = 30.0
    half_life_days: float = 7.0
    scope: Scope = "all"
    repeats: Repeats = "keep"
    timezone: str = ""
    milestone: str = ""
    contacts: Contacts = "all"
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    markets: tuple[str, ...] = ()

    def parameters(self) -> dict[str, Any]:
        """Return the fields as query parameters; times in milliseconds."""
        return {
            "by": self.by,
            "goal": self.goal,
            "start": ms_of_time(self.start),
            "stop": ms_of_time(self.stop),
            "lookback": round(self.lookback_days * DAY_MS),
            "half_life": self.half_life_days * DAY_MS,
            "scope": self.scope,
            "repeats": self.repeats,
            "timezone": self.timezone,
            "milestone": self.milestone,
            "contacts": self.contacts,
            "only": list(self.only),
            "without": list(self.without),
            "markets": list(self.markets),
        }


@dataclass(frozen=True, slots=True)
class AttributionRow:
    """One model's result for one key.

    Attributes:
        model: The model.
        key: Channel, campaign, creative or product; `(unattributed)` for conversions without a touch.
        conversions: Credited conversions.
        revenue: Credited revenue.
        new_customers: Credited conversions that were the person's first; None: the model does not compute them.
        spend: Money spent; None by product, where it is not known.
        roas: revenue / spend; None without spend, as all rates with an empty denominator.
        romi: (revenue x margin - spend) / spend.
        cpa: spend / conversions.
        cac: spend / new_customers.
        net_revenue: Credited revenue after refunds; None: the model does not compute it.
        share_low: Lower end of the 95 % interval of the key's share of the conversions with a touch; None without one.
        share_high: Upper end.
        revenue_low: Lower end of the 95 % interval of the credited revenue.
        revenue_high: Upper end.
        romi_low: Lower end of the 95 % interval of romi.
        romi_high: Upper end.
    """

    model: str
    key: str
    conversions: float
    revenue: float
    new_customers: float | None
    spend: Decimal | None
    roas: float | None
    romi: float | None
    cpa: float | None
    cac: float | None
    net_revenue: float | None = None
    share_low: float | None = None
    share_high: float | None = None
    revenue_low: float | None = None
    revenue_high: float | None = None
    romi_low: float | None = None
    romi_high: float | None = None


@dataclass(frozen=True, slots=True)
class AttributionReport:
    """An attribution report and the totals that its credits must add up to.

    Attributes:
        rows: By model, then most conversions first.
        conversions: Conversions of the period.
        revenue: Their revenue.
        spend: Money spent in the period; None by product.
        currencies: The currency of reports, which amounts are in; of a file, those that it has.
        not_converted: Amounts that are left out, since there is no rate: a warning for each, empty if there is none.
        not_additive: Models of the report whose credits are not meant to add up.
        margin: Share of revenue that is margin.
        spend_of_no_market: Money spent in the period that is in no market's share; None: no market was asked for.
    """

    rows: list[AttributionRow]
    conversions: float
    revenue: Decimal
    spend: Decimal | None
    currencies: tuple[str, ...]
    not_additive: tuple[str, ...] = field(default=())
    margin: float = 1.0
    not_converted: tuple[str, ...] = ()
    spend_of_no_market: Decimal | None = None

    def discrepancies(self) -> list[str]:
        """List the additive models whose credits differ from the conversions, or by a cent from the revenue."""
        found = []
        for model in dict.fromkeys(row.model for row in self.rows):
            rows = [row for row in self.rows if row.model == model]
            conversions, revenue = sum(row.conversions for row in rows), sum(row.revenue for row in rows)
            if model not in self.not_additive and (
                abs(conversions - self.conversions) > 1e-6 * max(1, self.conversions)
                or abs(revenue - float(self.revenue)) >= 0.005
            ):
                found.append(
                    f"{model}: {conversions} of {self.conversions} conversions, {revenue} of {self.revenue} revenue"
                )
        return found


_NEAR = (
    "(empty({markets:Array(String)}) OR has({markets:Array(String)}, toString(market)))"
    " AND day >= toDate32(fromUnixTimestamp64Milli({start:Int64}, 'UTC')) - 1"
    " AND day <= toDate32(fromUnixTimestamp64Milli({stop:Int64}, 'UTC')) + 1"
)
"""Of the markets, and in the period or a day before or after it: days are those of the time zone of reports."""


def models(client: Any) -> list[str]:
    """List the models, in the order of reports."""
    return [name for (name,) in client.query("SELECT model FROM v_attribution_models").result_rows]


def attribution(client: Any, options: AttributionOptions) -> AttributionReport:
    """Compute the credits of conversions and revenue by key, with spend and its rates."""
    margin, goal, currency = client.query(
        "SELECT margin, goal, assumeNotNull((SELECT currency FROM v_report_settings)) FROM v_attribution_settings"
    ).first_row
    parameters = {**options.parameters(), "goal": options.goal or goal, "models": list(options.models)}
    known = client.query("SELECT model, additive FROM v_attribution_models").result_rows
    order = {model: place for place, (model, _) in enumerate(known)}
    rows = [
        attribution_row(*values[:-1], margin=margin, net_revenue=values[-1])
        for values in client.query(
            """
            SELECT model, key, sum(conversions), sum(revenue), sum(new_customers), sum(spend), sum(net_revenue)
            FROM attribution_by_day(
                start_ms = {start:Int64}, stop_ms = {stop:Int64}, lookback_ms = {lookback:Int64},
                half_life_ms = {half_life:Float64}, goal = {goal:String}, dimension = {by:String},
                scope = {scope:String}, repeats = {repeats:String}, timezone = {timezone:String},
                milestone = {milestone:String}, contacts = {contacts:String}, only = {only:Array(String)},
                without = {without:Array(String)}, markets = {markets:Array(String)})
            WHERE empty({models:Array(String)}) OR has({models:Array(String)}, model)
            GROUP BY model, key
            """,
            parameters=parameters,
        ).result_rows
    ]
    rows.sort(key=lambda row: (order[row.model], -row.conversions, -(row.spend or 0), row.key))
    conversions, revenue, not_converted = client.query(
        f"""
        SELECT countIf(wanted), sumIf(ifNull(revenue, 0), wanted), countIf(revenue IS NULL AND {_NEAR})
        FROM
        (
            SELECT revenue, day, market, {{goal:String}} IN ('all', conversion_type)
                AND converted_at >= fromUnixTimestamp64Milli({{start:Int64}}, 'UTC')
                AND converted_at < fromUnixTimestamp64Milli({{stop:Int64}}, 'UTC')
                {"AND has({markets:Array(String)}, toString(market))" if options.markets else ""} AS wanted
            FROM sale_amounts
            WHERE NOT is_return
                AND converted_at >= fromUnixTimestamp64Milli({{start:Int64}}, 'UTC') - INTERVAL 3 DAY
                AND converted_at < fromUnixTimestamp64Milli({{stop:Int64}}, 'UTC') + INTERVAL 3 DAY
        )
        """,  # noqa: S608 - fixed texts
        parameters=parameters,
    ).first_row
    a_model = rows[0].model if rows else ""
    return AttributionReport(
        rows=rows,
        conversions=conversions,
        revenue=revenue,
        spend=None
        if options.by == "product" or options.markets
        else sum((row.spend or Decimal(0) for row in rows if row.model == a_model), Decimal(0)),
        currencies=(currency,),
        not_converted=_warnings(client, parameters, not_converted),
        not_additive=tuple(model for model, additive in known if not additive),
        margin=margin,
    )


def _warnings(client: Any, parameters: dict[str, Any], not_converted: int) -> tuple[str, ...]:
    """Return a sentence for each day and currency with amounts of the period, or near it, that have no rate.

    Args:
        client: A clickhouse-connect client.
        parameters: Of the report: `start`, `stop` and `markets`.
        not_converted: How many such conversions there are.
    """
    if not not_converted:  # as in most reports; and which amounts they are takes as long to find out as the credits
        of_spend = f"SELECT count() FROM (SELECT date AS day, market FROM v_spend WHERE spend IS NULL) WHERE {_NEAR}"  # noqa: S608
        if not client.query(of_spend, parameters=parameters).first_row[0]:
            return ()
    which = f"SELECT warning FROM v_missing_rates WHERE what IN ('conversions', 'spend') AND {_NEAR}"  # noqa: S608
    rows = client.query(f"{which} ORDER BY day, currency, what, market", parameters=parameters).result_rows
    return tuple(warning for (warning,) in rows)


def publish_settings(
    client: Any,
    *,
    goal: str,
    direct_channels: Sequence[str],
    margin: float,
    timezone: str,
    milestone: str = "signup",
    visit_pause_minutes: int = 30,
) -> bool:
    """Write the settings that the attribution views read.

    Returns:
        Whether they were different before.
    """
    wanted = (goal, list(direct_channels), margin, timezone, milestone, visit_pause_minutes)
    columns = ["goal", "direct_channels", "margin", "timezone", "milestone", "visit_pause_minutes"]
    known = f"SELECT {', '.join(columns)} FROM v_attribution_settings CROSS JOIN v_visit_settings"  # noqa: S608
    if client.query(known).first_row == wanted:
        return False
    client.insert(
        "attribution_settings",
        [list(wanted)],
        column_names=columns,
        settings=without_deduplication(),
    )
    return True


@dataclass(frozen=True, slots=True)
class AccountingRow:
    """The outcomes of one source's records.

    Attributes:
        source: The producer; empty where it could not be read.
        received: Records with a known outcome.
        stored: Distinct events stored.
        duplicate: Further deliveries of an event.
        suppressed: Left out on purpose: consent, erasure.
        dead_lettered: Refused, with the original bytes kept.
        difference: `received` minus all outcomes; if it is not 0, a record had two outcomes.
    """

    source: str
    received: int
    stored: int
    duplicate: int
    suppressed: int
    dead_lettered: int
    difference: int


@dataclass(frozen=True, slots=True)
class ProfileAccounting:
    """What profiles have counted beside what is stored.

    Attributes:
        people: People with events or a profile.
        stored: Distinct events of theirs.
        counted: Events that their profiles have counted, as of their snapshots.
        moving: People of whom something has changed within ten minutes: they are not compared.
        differing: Profiles, of the others, that have counted other events than are stored.
        missing: Events that these lack.
        excess: Events that these have counted too often.
    """

    people: int = 0
    stored: int = 0
    counted: int = 0
    moving: int = 0
    differing: int = 0
    missing: int = 0
    excess: int = 0


@dataclass(frozen=True, slots=True)
class Accounting:
    """The outcomes of all producers' records.

    Attributes:
        sources: One row for each source.
        missing: Records without any outcome between the first and the last that have one; work in progress, or lost.
        conflicts: Duplicates that were another event than the stored one: their source uses an id twice.
        mended: Stored events with a value that was mended.
        doubtful: Stored events whose own time cannot be believed.
        profiles: What profiles have counted of them.
    """

    sources: list[AccountingRow]
    missing: int
    conflicts: int = 0
    mended: int = 0
    doubtful: int = 0
    profiles: ProfileAccounting = ProfileAccounting()

    def total(self) -> AccountingRow:
        """Sum up all sources."""
        counts = zip(*(tuple(asdict(row).values())[1:] for row in self.sources), strict=True)
        return AccountingRow("(all)", *map(sum, counts)) if self.sources else AccountingRow("(all)", *[0] * 6)


def accounting(client: Any) -> Accounting:
    """Account for every record: received = stored + duplicate + suppressed + dead-lettered."""
    rows = client.query(
        """
        SELECT source, sum(received), sum(stored), sum(duplicate), sum(suppressed), sum(dead_lettered), sum(difference)
        FROM v_accounting GROUP BY source ORDER BY source
        """
    ).result_rows
    missing = client.query("SELECT sum(missing) FROM v_missing_offsets").first_row[0]
    conflicts = client.query("SELECT sum(conflicts) FROM v_event_id_conflicts").first_row[0]
    mended, doubtful = client.query(
        "SELECT uniqExactIf((source, event_id), notEmpty(mended)), uniqExactIf((source, event_id), time_doubtful)"
        " FROM touchpoints"
    ).first_row
    sources = [AccountingRow(*row) for row in rows]
    return Accounting(sources, missing, conflicts, mended, doubtful, accounting_of_profiles(client))


def accounting_of_profiles(client: Any, *, timeout_s: int = 0) -> ProfileAccounting:
    """Compare what profiles have counted with what is stored of their people.

    Raises:
        ClickHouseError: It took longer than `timeout_s`, if that is not 0.
    """
    row = client.query(
        """
        SELECT count(), sum(stored), sum(counted), countIf(NOT settled), countIf(difference != 0),
            -sumIf(difference, difference < 0), sumIf(difference, difference > 0)
        FROM v_profile_accounting
        """,
        settings={"max_execution_time": timeout_s},
    ).first_row
    return ProfileAccounting(*row)


def attribution_row(
    model: str,
    key: str,
    conversions: float,
    revenue: float,
    new_customers: float | None,
    spend: Decimal | None,
    *,
    margin: float,
    **more: float | None,
) -> AttributionRow:
    """Make a row with the rates of credit to spend; `more` are further fields."""
    cost = float(spend or 0)
    ends = {
        f"romi_{end}": _ratio(worth * margin - cost, cost)
        for end in ("low", "high")
        if (worth := more.get(f"revenue_{end}")) is not None
    }
    return AttributionRow(
        model=model,
        key=key,
        conversions=conversions,
        revenue=revenue,
        new_customers=new_customers,
        spend=spend,
        roas=_ratio(revenue, cost),
        romi=_ratio(revenue * margin - cost, cost),
        cpa=_ratio(cost, conversions) if spend is not None else None,
        cac=_ratio(cost, new_customers) if spend is not None and new_customers is not None else None,
        **ends,
        **more,
    )


def _ratio(numerator: float, denominator: float) -> float | None:
    return numerator / denominator if denominator else None
