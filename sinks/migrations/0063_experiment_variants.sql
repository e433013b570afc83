-- Experiments by variant: arms of random splits, variants of messages, and messages against the holdout.
--
-- Everybody who was drawn counts in the variant of the draw, whether a message was sent or not (intention to treat): who
-- is held back by a gate in one variant has a counterpart in the others, whom no gate was asked about. A person who was
-- drawn into two variants (two people turned out to be one, or the shares were changed back and forth) is `crossed` and
-- counts in none, as in v_experiments. Orders count from the draw to the end of the journey's window, so that people
-- drawn today and last month are compared by the same time.

CREATE VIEW IF NOT EXISTS {{database}}.experiment_draws {{on_cluster}}
(
    journey LowCardinality(String) COMMENT 'The journey',
    version LowCardinality(String) COMMENT 'The version that the run entered with',
    step LowCardinality(String) COMMENT 'The random split, or the message with variants; holdout: messages against the holdout',
    profile_id UUID COMMENT 'The person as known now',
    run_id String COMMENT 'The person''s run through the journey',
    variant String COMMENT 'The arm or variant that was drawn; treated or holdout',
    drawn_at DateTime64(3, 'UTC') COMMENT 'When it was drawn; of the holdout: when the first message was sent or would have been',
    share Nullable(Float64) COMMENT 'Share of people that the variant is to have; NULL: not recorded',
    control String COMMENT 'The variant that the others are compared with',
    metric LowCardinality(String) COMMENT 'ordered, clicked, goal or revenue',
    window_ms UInt64 COMMENT 'How long after the draw what a person does counts, in milliseconds',
    horizon_ms Nullable(UInt64) COMMENT 'When the winner is decided, after the first draw, in milliseconds; NULL: by a sequential test'
)
AS
SELECT
    journey,
    version,
    step,
    profile_id,
    run_id,
    JSONExtractString(detail, 'arm') AS variant,
    at AS drawn_at,
    JSONExtract(detail, 'experiment', 'share', 'Nullable(Float64)') AS share,
    JSONExtractString(detail, 'experiment', 'control') AS control,
    if(JSONExtractString(detail, 'experiment', 'metric') = '', 'ordered', JSONExtractString(detail, 'experiment', 'metric')) AS metric,
    if(JSONExtractUInt(detail, 'experiment', 'window_ms') = 0, 604800000, JSONExtractUInt(detail, 'experiment', 'window_ms')) AS window_ms,
    nullIf(JSONExtractUInt(detail, 'experiment', 'horizon_ms'), 0) AS horizon_ms
FROM {{database}}.v_journey_events
WHERE kind = 'step' AND position(detail, '"arm"') > 0
UNION ALL
SELECT
    d.journey AS journey,
    d.journey_version AS version,
    'holdout' AS step,
    d.profile_id AS profile_id,
    d.run_id AS run_id,
    if(d.outcome = 'ghost', 'holdout', 'treated') AS variant,
    d.decided_at AS drawn_at,
    NULL AS share,
    'holdout' AS control,
    if(s.metric = '', 'ordered', s.metric) AS metric,
    if(s.window_ms = 0, 604800000, s.window_ms) AS window_ms,
    nullIf(s.horizon_ms, 0) AS horizon_ms
FROM {{database}}.v_decisions AS d
LEFT JOIN
(
    SELECT
        journey,
        version,
        any(JSONExtractString(detail, 'experiment', 'metric')) AS metric,
        any(JSONExtractUInt(detail, 'experiment', 'window_ms')) AS window_ms,
        any(JSONExtractUInt(detail, 'experiment', 'horizon_ms')) AS horizon_ms
    FROM {{database}}.journey_events FINAL
    WHERE kind = 'journey_entered' AND position(detail, '"experiment"') > 0
    GROUP BY journey, version
) AS s ON s.journey = d.journey AND s.version = d.journey_version
WHERE d.outcome IN ('sent', 'ghost') AND (d.journey, d.journey_version) IN (SELECT journey, journey_version FROM {{database}}.decisions WHERE outcome = 'ghost')
COMMENT 'Draws of variants, one row for each run and split. Internal: feeds v_experiment_people.';

CREATE VIEW IF NOT EXISTS {{database}}.v_experiment_people {{on_cluster}}
(
    journey LowCardinality(String) COMMENT 'The journey',
    version LowCardinality(String) COMMENT 'Its version',
    step LowCardinality(String) COMMENT 'The random split, or the message with variants; holdout: messages against the holdout',
    profile_id UUID COMMENT 'The person as known now',
    variant String COMMENT 'The variant that was drawn first',
    crossed UInt8 COMMENT '1: another one was drawn later, so that the person counts in none',
    assigned_at DateTime64(3, 'UTC') COMMENT 'When it was first drawn',
    measured UInt8 COMMENT '1: the window is over, so that nothing is added any more but what is reported late',
    sent UInt64 COMMENT 'Messages that were sent in these runs after the draw',
    held_out UInt64 COMMENT 'Messages that would have been sent, were the person not held out',
    delivered UInt64 COMMENT 'Messages that arrived, of those sent',
    clicked UInt8 COMMENT '1: one of them was clicked or answered within the window',
    goal UInt8 COMMENT '1: a goal of the journey was reached within the window',
    orders UInt64 COMMENT 'Orders within the window',
    revenue Float64 COMMENT 'Their revenue after refunds, in the currency of reports',
    share Nullable(Float64) COMMENT 'Share of people that the variant is to have; NULL: not recorded',
    control String COMMENT 'The variant that the others are compared with',
    metric LowCardinality(String) COMMENT 'What the experiment is to raise: ordered, clicked, goal or revenue',
    window_ms UInt64 COMMENT 'How long after the draw what a person does counts, in milliseconds',
    horizon_ms Nullable(UInt64) COMMENT 'When the winner is decided, after the first draw, in milliseconds; NULL: by a sequential test'
)
AS
SELECT
    p.journey AS journey,
    p.version AS version,
    p.step AS step,
    p.profile_id AS profile_id,
    p.first_variant AS variant,
    toUInt8(p.variants > 1) AS crossed,
    p.assigned_at AS assigned_at,
    toUInt8(p.ends_at <= now64(3)) AS measured,
    p.sent AS sent,
    p.held_out AS held_out,
    p.delivered AS delivered,
    toUInt8(p.first_click >= p.assigned_at AND p.first_click <= p.ends_at) AS clicked,
    toUInt8(p.first_goal >= p.assigned_at AND p.first_goal <= p.ends_at) AS goal,
    toUInt64(length(arrayFilter(one -> one.1 >= p.assigned_at AND one.1 <= p.ends_at, o.orders))) AS orders,
    arraySum(one -> if(one.1 >= p.assigned_at AND one.1 <= p.ends_at, one.2, 0.), o.orders) AS revenue,
    p.share AS share,
    p.control AS control,
    p.metric AS metric,
    p.window_ms AS window_ms,
    p.horizon_ms AS horizon_ms
FROM
(
    SELECT
        d.journey AS journey,
        d.version AS version,
        d.step AS step,
        d.profile_id AS profile_id,
        argMin(d.variant, (d.drawn_at, d.run_id)) AS first_variant,
        uniqExact(d.variant) AS variants,
        min(d.drawn_at) AS assigned_at,
        addMilliseconds(assigned_at, any(d.window_ms)) AS ends_at,
        uniqExactIf(m.message_id, m.outcome = 'sent' AND m.decided_at >= d.drawn_at) AS sent,
        uniqExactIf(m.message_id, m.outcome = 'ghost' AND m.decided_at >= d.drawn_at) AS held_out,
        uniqExactIf(m.message_id, m.outcome = 'sent' AND m.decided_at >= d.drawn_at AND m.delivered) AS delivered,
        minIf(m.clicked_at, m.outcome = 'sent' AND m.decided_at >= d.drawn_at AND m.clicked_at > 0) AS first_click,
        minIf(g.reached_at, g.reached_at > 0) AS first_goal,
        argMin(d.share, (d.drawn_at, d.run_id)) AS share,
        any(d.control) AS control,
        any(d.metric) AS metric,
        any(d.window_ms) AS window_ms,
        any(d.horizon_ms) AS horizon_ms
    FROM {{database}}.experiment_draws AS d
    LEFT JOIN
    (
        SELECT c.journey AS journey, c.run_id AS run_id, c.idempotency_key AS message_id, c.outcome AS outcome, c.decided_at AS decided_at, r.delivered AS delivered, r.clicked_at AS clicked_at
        FROM (SELECT * FROM {{database}}.decisions FINAL WHERE outcome IN ('sent', 'ghost')) AS c
        LEFT JOIN
        (
            SELECT
                message_id,
                max(step IN ('delivered', 'opened', 'clicked', 'replied')) AS delivered,
                minIf(occurred_at, step IN ('clicked', 'replied')) AS clicked_at
            FROM {{database}}.message_events
            GROUP BY message_id
        ) AS r ON r.message_id = c.idempotency_key
    ) AS m ON m.journey = d.journey AND m.run_id = d.run_id
    LEFT JOIN
    (
        SELECT journey, run_id, min(at) AS reached_at
        FROM {{database}}.journey_events FINAL
        WHERE kind = 'goal'
        GROUP BY journey, run_id
    ) AS g ON g.journey = d.journey AND g.run_id = d.run_id
    GROUP BY journey, version, step, profile_id
) AS p
LEFT JOIN
(
    SELECT profile_id, groupArray((converted_at, toFloat64(ifNull(net_revenue, 0)))) AS orders
    FROM {{database}}.v_conversion_values
    WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings) AND NOT time_doubtful
    GROUP BY profile_id
) AS o ON o.profile_id = p.profile_id
COMMENT 'Who was drawn into which variant and what came of it, one row for each journey, version, split and person.';

-- Intervals of rates are Wilson's, of differences Newcombe's, as in v_experiments. The p-value of the split is the upper
-- tail of Pearson's chi-square, in its closed form for whole degrees of freedom (Abramowitz and Stegun, 26.4.4 and
-- 26.4.5); arms into which nobody was drawn are one cell, of the share that the others leave.
CREATE VIEW IF NOT EXISTS {{database}}.v_experiment_variants {{on_cluster}}
(
    journey LowCardinality(String) COMMENT 'The journey',
    version LowCardinality(String) COMMENT 'Its version',
    step LowCardinality(String) COMMENT 'The random split, or the message with variants; holdout: messages against the holdout',
    variant String COMMENT 'The arm or variant; treated or holdout',
    is_control UInt8 COMMENT '1: the others are compared with it',
    share Nullable(Float64) COMMENT 'Share of people that it is to have; NULL: not recorded, as of the holdout, to which caps do not apply',
    first_assigned DateTime64(3, 'UTC') COMMENT 'When it was drawn first',
    assigned UInt64 COMMENT 'People it was drawn for, sent to or not, without those who crossed',
    crossed UInt64 COMMENT 'People it was drawn for first and another one later: they count in no other column',
    measured UInt64 COMMENT 'People of assigned whose window is over',
    held_out UInt64 COMMENT 'People of assigned who are held out of messages',
    sent UInt64 COMMENT 'Messages sent',
    delivered UInt64 COMMENT 'Messages that arrived',
    clicked UInt64 COMMENT 'People who clicked or answered within the window',
    reached_goal UInt64 COMMENT 'People who reached a goal of the journey within the window',
    ordered UInt64 COMMENT 'People who ordered within the window',
    orders UInt64 COMMENT 'Their orders within the window',
    revenue Float64 COMMENT 'Revenue of these orders after refunds, in the currency of reports',
    click_rate Nullable(Float64) COMMENT 'clicked / assigned; NULL: nobody is assigned',
    click_rate_low Nullable(Float64) COMMENT 'Lower end of its 95 % interval',
    click_rate_high Nullable(Float64) COMMENT 'Upper end',
    order_rate Nullable(Float64) COMMENT 'ordered / assigned',
    order_rate_low Nullable(Float64) COMMENT 'Lower end of its 95 % interval',
    order_rate_high Nullable(Float64) COMMENT 'Upper end',
    revenue_per_person Nullable(Float64) COMMENT 'revenue / assigned',
    revenue_low Nullable(Float64) COMMENT 'Lower end of its 95 % interval, by the normal distribution; NULL: fewer than two people',
    revenue_high Nullable(Float64) COMMENT 'Upper end',
    difference Nullable(Float64) COMMENT 'order_rate minus that of the control; NULL: the control itself, or nobody is in it',
    difference_low Nullable(Float64) COMMENT 'Lower end of its 95 % interval. It is valid for one look; for more see `throughline experiments show`',
    difference_high Nullable(Float64) COMMENT 'Upper end',
    sample_ratio_p Nullable(Float64) COMMENT 'Probability of shares at least so uneven, of the whole split; NULL: shares are not recorded',
    sample_ratio_mismatch UInt8 COMMENT '1: it is below 0.001: look for a fault before you read any result'
)
AS
WITH
    1.959963984540054 AS z,
    (part, people) -> (part / people + z * z / (2 * people)) / (1 + z * z / people) AS centre,
    (part, people) -> z * sqrt((part / people) * (1 - part / people) / people + z * z / (4 * people * people)) / (1 + z * z / people) AS reach,
    (x, k) -> if(k % 2 = 0,
        exp(-x / 2) * arraySum(i -> pow(x / 2, i) / tgamma(i + 1), range(intDiv(toUInt32(k), 2))),
        erfc(sqrt(x / 2)) + exp(-x / 2) * arraySum(i -> pow(x / 2, i - 0.5) / tgamma(i + 0.5), range(1, 1 + intDiv(toUInt32(k), 2)))) AS tail
SELECT
    journey, version, step, variant, is_control, share, first_assigned, assigned, crossed, measured, held_out, sent, delivered,
    clicked, reached_goal, ordered, orders, revenue,
    if(people = 0, NULL, clicked / people) AS click_rate,
    if(people = 0, NULL, greatest(0, centre(clicked, people) - reach(clicked, people))) AS click_rate_low,
    if(people = 0, NULL, least(1, centre(clicked, people) + reach(clicked, people))) AS click_rate_high,
    if(people = 0, NULL, ordered / people) AS order_rate,
    if(people = 0, NULL, greatest(0, centre(ordered, people) - reach(ordered, people))) AS order_rate_low,
    if(people = 0, NULL, least(1, centre(ordered, people) + reach(ordered, people))) AS order_rate_high,
    if(people = 0, NULL, revenue / people) AS revenue_per_person,
    if(people < 2, NULL, revenue_per_person - z * sqrt(variance / people)) AS revenue_low,
    if(people < 2, NULL, revenue_per_person + z * sqrt(variance / people)) AS revenue_high,
    if(is_control OR control_people = 0, NULL, order_rate - control_ordered / control_people) AS difference,
    difference - sqrt(pow(order_rate - order_rate_low, 2) + pow(centre(control_ordered, control_people) + reach(control_ordered, control_people) - control_ordered / control_people, 2)) AS difference_low,
    difference + sqrt(pow(order_rate_high - order_rate, 2) + pow(control_ordered / control_people - (centre(control_ordered, control_people) - reach(control_ordered, control_people)), 2)) AS difference_high,
    if(unknown_shares > 0 OR whole = 0 OR cells < 2, NULL, tail(statistic, cells - 1)) AS sample_ratio_p,
    toUInt8(ifNull(sample_ratio_p < 0.001, 0)) AS sample_ratio_mismatch
FROM
(
    SELECT
        *,
        toFloat64(nullIf(assigned, 0)) AS some_people,
        ifNull(some_people, 0) AS people,
        ifNull(sumIf(assigned, is_control) OVER split, 0) AS control_total,
        toFloat64(control_total) AS control_people,
        toFloat64(ifNull(sumIf(ordered, is_control) OVER split, 0)) AS control_ordered,
        countIf(share IS NULL) OVER split AS unknown_shares,
        sum(assigned) OVER split AS whole,
        greatest(0, 1 - ifNull(sum(share) OVER split, 0)) AS absent,
        countIf(share > 0) OVER split + (absent > 1e-6) AS cells,
        -- The sum of (observed - expected)^2 / expected, with what nobody was drawn into among the expected.
        greatest(0., ifNull(sum(if(ifNull(share, 0) = 0, 0., assigned * assigned / assumeNotNull(share))) OVER split / nullIf(whole, 0) - whole, 0.)) AS statistic
    FROM
    (
        SELECT
            journey, version, step, p.variant AS variant, any(p.control) = p.variant AS is_control, any(p.share) AS share,
            min(p.assigned_at) AS first_assigned,
            countIf(NOT p.crossed) AS assigned,
            countIf(p.crossed) AS crossed,
            countIf(NOT p.crossed AND p.measured) AS measured,
            countIf(NOT p.crossed AND p.held_out > 0) AS held_out,
            sumIf(p.sent, NOT p.crossed) AS sent,
            sumIf(p.delivered, NOT p.crossed) AS delivered,
            countIf(NOT p.crossed AND p.clicked) AS clicked,
            countIf(NOT p.crossed AND p.goal) AS reached_goal,
            countIf(NOT p.crossed AND p.orders > 0) AS ordered,
            sumIf(p.orders, NOT p.crossed) AS orders,
            sumIf(p.revenue, NOT p.crossed) AS revenue,
            ifNull(varSampOrNullIf(p.revenue, NOT p.crossed), 0) AS variance
        FROM {{database}}.v_experiment_people AS p
        GROUP BY journey, version, step, variant
    )
    WINDOW split AS (PARTITION BY journey, version, step)
)
COMMENT 'What each variant of an experiment brought, one row for each journey, version, split and variant.';

CREATE OR REPLACE VIEW {{database}}.v_messages {{on_cluster}}
(
    channel String COMMENT 'email, sms, whatsapp, messenger, telegram, web_push or app_push',
    message_id String COMMENT 'The sender''s id of the message; of a journey''s message it is idempotency_key in v_decisions. One id may have several receivers',
    profile_id UUID COMMENT 'The receiver as known now',
    campaign String COMMENT 'Campaign name, as events of the message say, else of the decision that sent it',
    sent_at DateTime64(3, 'UTC') COMMENT 'When it was sent; where that is not reported, its first event',
    day Date COMMENT 'That day in the time zone of reports',
    delivered UInt8 COMMENT '1: delivered, or opened, clicked or answered',
    opened UInt8 COMMENT '1: opened, as far as that is reported; mail programs open unseen mail too',
    responded UInt8 COMMENT '1: clicked or answered',
    bounced UInt8 COMMENT '1: bounced',
    failed UInt8 COMMENT '1: sending it failed',
    unsubscribed UInt8 COMMENT '1: the receiver unsubscribed through it or marked it as spam',
    journey String COMMENT 'The journey that sent it; empty: none did',
    journey_version String COMMENT 'Its version',
    step String COMMENT 'The message''s node in the journey',
    template String COMMENT 'The template',
    variant String COMMENT 'The branch of a random split, or the variant of the message'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    m.channel AS channel,
    m.message_id AS message_id,
    m.profile_id AS profile_id,
    if(m.campaign = '', d.campaign, m.campaign) AS campaign,
    m.sent_at AS sent_at,
    toDate(toTimeZone(sent_at, zone)) AS day,
    m.delivered AS delivered,
    m.opened AS opened,
    m.responded AS responded,
    m.bounced AS bounced,
    m.failed AS failed,
    m.unsubscribed AS unsubscribed,
    d.journey AS journey,
    d.journey_version AS journey_version,
    d.step AS step,
    d.message AS template,
    d.variant AS variant
FROM
(
    SELECT
        e.channel AS channel,
        e.message_id AS message_id,
        e.profile_id AS profile_id,
        max(e.campaign) AS campaign,
        if(countIf(step = 'sent') > 0, minIf(occurred_at, step = 'sent'), min(occurred_at)) AS sent_at,
        countIf(step IN ('delivered', 'opened', 'clicked', 'replied')) > 0 AS delivered,
        countIf(step = 'opened') > 0 AS opened,
        countIf(step IN ('clicked', 'replied')) > 0 AS responded,
        countIf(step = 'bounced') > 0 AS bounced,
        countIf(step = 'failed') > 0 AS failed,
        countIf(step IN ('unsubscribed', 'complained')) > 0 AS unsubscribed
    FROM {{database}}.message_events AS e
    GROUP BY channel, message_id, profile_id
    HAVING countIf(step != 'replied' AND (step NOT IN ('unsubscribed', 'complained') OR e.message_id != event_id)) > 0
) AS m
LEFT JOIN
(
    SELECT
        idempotency_key, any(toString(journey)) AS journey, any(toString(journey_version)) AS journey_version, any(toString(step)) AS step,
        any(toString(message)) AS message, any(toString(campaign)) AS campaign, any(toString(variant)) AS variant
    FROM {{database}}.decisions
    WHERE outcome = 'sent'
    GROUP BY idempotency_key
) AS d ON d.idempotency_key = m.message_id
COMMENT 'Messages to known people and what became of them, one row for each channel, message id and receiver.';
