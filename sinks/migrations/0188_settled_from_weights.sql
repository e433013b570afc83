-- How long people take from their first touch to the conversion is read from the weights, as all else about credits is, so that one view decides which
-- touches count. The numbers are as before.

CREATE OR REPLACE VIEW {{database}}.v_attribution_settled {{on_cluster}}
(
    data_until DateTime64(3, 'UTC') COMMENT 'When the broker got the newest event',
    lateness_p99_s Float64 COMMENT 'Of 100 events of the last 30 days, imported ones left out, 99 arrived within so many seconds after they happened',
    lateness_p999_s Float64 COMMENT 'Of 1,000 events, 999',
    touch_to_conversion_p50_s Float64 COMMENT 'Half of the conversions of the last 60 days came within so many seconds of their first touch',
    touch_to_conversion_p95_s Float64 COMMENT 'Of 100 conversions, 95',
    settled_until DateTime64(3, 'UTC') COMMENT 'Credits of conversions before this hardly change any more: data_until - lateness_p999_s',
    touches_settled_until DateTime64(3, 'UTC') COMMENT 'Touches before this have mostly had the conversions that they will have: settled_until - touch_to_conversion_p95_s'
)
AS
WITH
    (SELECT max(received_at) FROM {{database}}.touchpoints) AS newest,
    (
        SELECT quantiles(0.99, 0.999)(greatest(0, dateDiff('millisecond', occurred_at, received_at)) / 1000)
        FROM {{database}}.touchpoints
        WHERE received_at > newest - INTERVAL 30 DAY AND NOT is_historical
    ) AS lateness,
    (
        SELECT quantiles(0.5, 0.95)(dateDiff('millisecond', assumeNotNull(touched_at), converted_at) / 1000)
        FROM {{database}}.attribution_weights(
            start_ms = toUnixTimestamp64Milli((SELECT max(received_at) FROM {{database}}.touchpoints)) - 5184000000, stop_ms = 4133980800000,
            lookback_ms = 2592000000, half_life_ms = 604800000, goal = '', scope = 'all', repeats = 'keep', milestone = '', contacts = 'all', only = [], without = [])
        WHERE position = 1 AND touch_event_id != ''
    ) AS lag
SELECT
    newest AS data_until,
    ifNotFinite(lateness[1], 0) AS lateness_p99_s,
    ifNotFinite(lateness[2], 0) AS lateness_p999_s,
    ifNotFinite(lag[1], 0) AS touch_to_conversion_p50_s,
    ifNotFinite(lag[2], 0) AS touch_to_conversion_p95_s,
    newest - toIntervalMillisecond(toInt64(lateness_p999_s * 1000)) AS settled_until,
    settled_until - toIntervalMillisecond(toInt64(touch_to_conversion_p95_s * 1000)) AS touches_settled_until
COMMENT 'Up to when reports may be relied on, from how late events arrive and how long people take: always one row.';

-- What is read no more.
DROP VIEW IF EXISTS {{database}}.attribution_journeys {{on_cluster}};

DROP VIEW IF EXISTS {{database}}.touch_candidates {{on_cluster}};

ALTER TABLE {{database}}.checkouts_of_servers {{on_cluster}}
    MODIFY COMMENT 'Steps of checkouts between two times, milliseconds since 1970, that name no browser: their times, and whether they are the order; one row for each person. Internal: feeds device_visits and attribution_weights.';
