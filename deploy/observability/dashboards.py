"""Makes the dashboards of Grafana: a panel for each metric of `schemas/metrics.py`, and questions to ClickHouse.

`python -m deploy.observability.dashboards` writes them to `grafana/dashboards`, from where Grafana is provisioned.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas import metrics
from schemas.metrics import Counter, Histogram, Metric

FOLDER = Path(__file__).parent / "grafana/dashboards"
PROMETHEUS = {"type": "prometheus", "uid": "${prometheus}"}
CLICKHOUSE = {"type": "grafana-clickhouse-datasource", "uid": "${clickhouse}"}
_WIDTH, _HEIGHT, _COLUMNS = 12, 8, 24
_UNITS = {"seconds": "s", "bytes": "bytes", "seconds since 1970": "s"}


@dataclass(frozen=True, slots=True)
class Query:
    """A panel with a query of its own.

    Attributes:
        title: Its title.
        meaning: In a sentence.
        text: PromQL, or SQL with the macros of Grafana's ClickHouse data source.
        legend: Of a series; empty: its labels.
        unit: As Grafana names it.
        kind: `timeseries`, `stat` or `table`.
    """

    title: str
    meaning: str
    text: str
    legend: str = ""
    unit: str = "short"
    kind: str = "timeseries"


Panels = dict[str, tuple[Metric | Query, ...]]
"""Panels by the title of their row."""

_RATE = 'sum(rate({}{{stage="identify"}}[$__rate_interval]))'
_OUT = " + ".join(
    f"({_RATE.format(one.name)} or vector(0))" for one in (metrics.PUBLISHED, metrics.DROPPED, metrics.DEAD_LETTERED)
)
IN_AND_OUT = Query(
    "Records in and out", "What `identify` has received, and what became of it: the two lines are one.",
    f'label_replace({_RATE.format(metrics.RECEIVED.name)}, "direction", "in", "", "")'
    f' or label_replace({_OUT}, "direction", "out", "", "")',
    "{{direction}}",
)  # fmt: skip
REFUSED_SHARE = Query(
    "Share of dead letters", "Of what `identify` has received.",
    f"({_RATE.format(metrics.DEAD_LETTERED.name)} or vector(0)) / {_RATE.format(metrics.RECEIVED.name)}", "refused",
    "percentunit",
)  # fmt: skip
ALERTS = Query(
    "Alerts", "What fires now: deploy/README.md has a section for each.",
    'sort_desc(sum by (alertname, severity) (ALERTS{alertstate="firing"})) or vector(0)', "{{alertname}}", kind="stat",
)  # fmt: skip

PIPELINE: Panels = {
    "Nothing is lost": (
        ALERTS, IN_AND_OUT, metrics.ACCOUNTING_DIFFERENCE, metrics.ACCOUNTING_MISSING, metrics.PROFILES_DIFFERING,
        metrics.ACCOUNTED_AT, metrics.ACCOUNTED_RECORDS,
    ),
    "Nothing is late": (
        metrics.LAG_AGE, metrics.LAG, metrics.DELAY, metrics.WATERMARK, metrics.TIMERS_LATE, metrics.TIMERS_DUE,
        metrics.OUTBOX_AGE, metrics.OUTBOX, metrics.SNAPSHOTS_AT, metrics.SNAPSHOTS_BEHIND,
    ),
    "Sources and refusals": (
        metrics.SOURCE_EVENTS, metrics.SOURCE_LAST_EVENT, REFUSED_SHARE, metrics.DEAD_LETTERED, metrics.DROPPED,
        metrics.IDENTITY_CHANGES, metrics.PEOPLE_EXPIRED, metrics.EXPIRY_PEOPLE, metrics.EXPIRY_AT,
    ),
    "Stages": (metrics.RECEIVED, metrics.PUBLISHED, metrics.STAGE_DURATION, metrics.ROWS),
    "Out to advertisers": (metrics.EXPORTS, metrics.EXPORT_LAG, metrics.EXPORT_PAUSED),
    "Messages": (
        metrics.DECISIONS_MADE, metrics.MESSAGES, metrics.EMAILS, metrics.SEGMENT_DIFFERENCES, metrics.SEGMENT_CHECK,
        metrics.SLOTS_DECIDED,
    ),
}  # fmt: skip
SERVERS: Panels = {
    "Collector": (
        metrics.COLLECTED, metrics.COLLECTOR_ANSWERS, metrics.COLLECTOR_DURATION, metrics.COLLECTOR_IN_FLIGHT,
        metrics.COLLECTOR_WAITING,
    ),
    "Stores": (
        metrics.RETRIES, metrics.STORE_ANSWERS, metrics.REDIS_MEMORY, metrics.REDIS_MEMORY_LIMIT, metrics.DISK_FREE,
        metrics.DISK_SIZE, metrics.CERTIFICATE_END,
    ),
    "Processes": (
        Query(
            "CPU", "Of each process.",
            'sum by (instance) (rate(process_cpu_seconds_total{job="throughline"}[$__rate_interval]))', "{{instance}}",
            "percentunit",
        ),
        Query(
            "Memory", "Of each process.", 'process_resident_memory_bytes{job="throughline"}', "{{instance}}", "bytes"
        ),
    ),
}  # fmt: skip
MARKETING: Panels = {
    "Events": (
        Query(
            "Events by channel", "Events that are stored, by where they happened.",
            "SELECT $__timeInterval(occurred_at) AS time, channel, count() AS events FROM v_touchpoints"
            " WHERE $__timeFilter(occurred_at) GROUP BY time, channel ORDER BY time",
        ),
        Query(
            "Records by outcome", "What became of the records of each hour.",
            "SELECT hour AS time, sum(stored) AS stored, sum(duplicate) AS duplicate, sum(suppressed) AS suppressed,"
            " sum(dead_lettered) AS dead_lettered, sum(difference) AS difference FROM v_accounting"
            " WHERE $__timeFilter(hour) GROUP BY time ORDER BY time",
        ),
    ),
    "Orders": (
        Query(
            "Conversions by goal", "As they happened, by goal.",
            "SELECT $__timeInterval(converted_at) AS time, conversion_type, count() AS conversions FROM v_conversions"
            " WHERE $__timeFilter(converted_at) GROUP BY time, conversion_type ORDER BY time",
        ),
        Query(
            "Net revenue by currency", "After refunds.",
            "SELECT $__timeInterval(converted_at) AS time, currency, toFloat64(sum(net_revenue)) AS net_revenue"
            " FROM v_conversions WHERE $__timeFilter(converted_at) AND currency != ''"
            " GROUP BY time, currency ORDER BY time",
        ),
        Query(
            "Credit by channel and model", "Credited conversions and revenue, lookback 30 days.",
            "SELECT model, channel, sum(conversions) AS conversions, sum(revenue) AS revenue"
            " FROM v_attribution_by_channel WHERE $__dateFilter(day)"
            " GROUP BY model, channel ORDER BY model, revenue DESC",
            kind="table",
        ),
    ),
    "Messages": (
        Query(
            "Messages by channel", "Sent, and what became of them.",
            "SELECT channel, count() AS sent, sum(delivered) AS delivered, sum(opened) AS opened,"
            " sum(responded) AS responded, sum(bounced) AS bounced, sum(failed) AS failed,"
            " sum(unsubscribed) AS unsubscribed FROM v_messages WHERE $__timeFilter(sent_at)"
            " GROUP BY channel ORDER BY sent DESC",
            kind="table",
        ),
        Query(
            "Decisions by outcome", "Of each hour, with the gate that held messages back.",
            "SELECT $__timeInterval(decided_at) AS time,"
            " if(gate = '', outcome, concat(outcome, ': ', gate)) AS decision, count() AS decisions"
            " FROM v_decisions WHERE $__timeFilter(decided_at)"
            " GROUP BY time, decision ORDER BY time",
        ),
        Query(
            "Members of segments", "At the end of each day on which somebody entered or left.",
            "SELECT toDateTime(day) AS time, segment, members FROM v_segment_sizes WHERE $__dateFilter(day)"
            " ORDER BY time",
        ),
    ),
}  # fmt: skip


def dashboards() -> dict[str, dict[str, Any]]:
    """Return the dashboards by the names of their files."""
    return {
        "pipeline.json": _dashboard("throughline-pipeline", "Throughline: pipeline", PIPELINE, PROMETHEUS),
        "servers.json": _dashboard("throughline-servers", "Throughline: collector and servers", SERVERS, PROMETHEUS),
        "marketing.json": _dashboard(
            "throughline-marketing", "Throughline: marketing", MARKETING, CLICKHOUSE, "now-30d"
        ),
    }


def written(dashboard: dict[str, Any]) -> str:
    """Return the text of a dashboard's file."""
    return json.dumps(dashboard, indent=1, ensure_ascii=False) + "\n"


def query_of(metric: Metric) -> Query:
    """Return the panel of a metric: rates of counters, the highest of what several workers measure, quantiles.

    What counts seconds since 1970 is shown as the time since then, or until then if it lies ahead.
    """
    by, legend = ", ".join(metric.labels), " ".join(f"{{{{{label}}}}}" for label in metric.labels)
    words = metric.name.removeprefix("throughline_").removesuffix("_total")
    unit = _UNITS.get(metric.unit, "short")
    if isinstance(metric, Histogram):
        labels = ", ".join(("le", *metric.labels))
        quantile = f"histogram_quantile(0.99, sum by ({labels}) (rate({metric.name}_bucket[$__rate_interval])))"
        title, text = f"{words} (99 %)", quantile
    elif isinstance(metric, Counter):
        title, text, unit = f"{words} a second", f"sum by ({by}) (rate({metric.name}[$__rate_interval]))", "short"
    elif metric.name.endswith("_expiry_timestamp_seconds"):
        title, text = f"time to {words}", f"min by ({by}) ({metric.name}) - time()"
    elif metric.unit == "seconds since 1970":
        title, text = f"time since {words}", f"time() - max by ({by}) ({metric.name} > 0)"
    else:
        function = "min" if metric in (metrics.DISK_FREE, metrics.REDIS_MEMORY_LIMIT) else "max"
        title, text = words, f"{function} by ({by}) ({metric.name})"
    for said in ("_timestamp_seconds", "_seconds", "_bytes", "_"):
        title = title.replace(said, " " if said == "_" else "")
    return Query(title[0].upper() + title[1:], metric.meaning, text.replace(" by ()", ""), legend, unit)


def _dashboard(uid: str, title: str, rows: Panels, source: dict[str, str], start: str = "now-6h") -> dict[str, Any]:
    name = source["uid"].strip("${}")
    return {
        "uid": uid,
        "title": title,
        "tags": ["throughline"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "1m",
        "time": {"from": start, "to": "now"},
        "templating": {"list": [{"name": name, "label": name, "type": "datasource", "query": source["type"]}]},
        "panels": list(_panels(rows, source)),
    }


def _panels(rows: Panels, source: dict[str, str]) -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for title, shown in rows.items():
        number += 1
        yield {
            "id": number, "type": "row", "title": title, "collapsed": False, "panels": [],
            "gridPos": {"h": 1, "w": _COLUMNS, "x": 0, "y": y},
        }  # fmt: skip
        y += 1
        for place, one in enumerate(_queries(shown)):
            number += 1
            x = place * _WIDTH % _COLUMNS
            yield _panel(number, one, source, {"h": _HEIGHT, "w": _WIDTH, "x": x, "y": y})
            y += _HEIGHT if x + _WIDTH == _COLUMNS else 0
        y += _HEIGHT if len(shown) * _WIDTH % _COLUMNS else 0


def _queries(shown: Iterable[Metric | Query]) -> Iterator[Query]:
    for one in shown:
        yield one if isinstance(one, Query) else query_of(one)


def _panel(number: int, query: Query, source: dict[str, str], place: dict[str, int]) -> dict[str, Any]:
    target: dict[str, Any] = {"refId": "A", "datasource": source}
    if source is PROMETHEUS:
        target |= {"expr": query.text, "legendFormat": query.legend or "__auto"}
    else:
        in_time = query.kind == "timeseries"
        target |= {
            "editorType": "sql", "rawSql": query.text, "queryType": "timeseries" if in_time else "table",
            "format": 0 if in_time else 1,
        }  # fmt: skip
    options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    return {
        "id": number,
        "type": query.kind,
        "title": query.title,
        "description": query.meaning,
        "gridPos": place,
        "datasource": source,
        "targets": [target],
        "fieldConfig": {"defaults": {"unit": query.unit}, "overrides": []},
        "options": options if query.kind == "timeseries" else {},
    }


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, dashboard in dashboards().items():
        (FOLDER / name).write_text(written(dashboard), "utf-8")


if __name__ == "__main__":
    main()
