-- Bots are no active people; and a message that no server has answered for days has not bounced for good: SendGrid calls that expired.

CREATE OR REPLACE VIEW {{database}}.bounce_types {{on_cluster}}
(
    name String COMMENT 'Word in lower case without spaces and punctuation, or code; 5.7. stands for all status codes that begin so',
    class UInt8 COMMENT '1 permanent, 2 transient, 3 not about the address, 4 no bounce, 5 unsubscription, 6 spam complaint; the greatest of a report counts'
)
AS SELECT arrayJoin(splitByChar(' ', entry.2)) AS name, toUInt8(entry.1) AS class
FROM
(
    SELECT arrayJoin([
        (1, 'hard hardbounce permanent permanentfail permanentfailure bounce invalid invalidemail invalidaddress bademailaddress badmailbox baddomain invaliddomain invalidrecipient unknownuser usernotfound nosuchuser noemail mailboxdoesnotexist addressdoesnotexist suppressed onaccountsuppressionlist suppressbounce bouncedaddress manuallydeactivated 550 551 553 521 556 605 5.1. 5.1.1 5.1.2 5.1.3 5.1.6 5.1.10 5.2.1 21211 21614 21635 30005 30006 63003 63024 unregistered notregistered invalidregistration devicenotregistered baddevicetoken'),
        (2, 'soft softbounce transient temporary temporaryfail temporaryfailure deferred deferral delayed greylisted old expired mailboxfull mailboxunavailable customtimeoutexceeded technical technicalfailure dnserror 421 450 451 452 552 4. 5.2.2 5.3. 5.4. 30003'),
        (3, 'blocked block undetermined unknown messagetoolarge contentrejected attachmentrejected content reputation frequencyorvolumetoohigh frequencyvolume frequency volume spamnotification virusnotification unconfirmed smtpapierror inbounderror dmarcpolicy templaterenderingfailed espblock policy spam 554 571 4.7. 5.1.7 5.1.8 5.2.3 5.3.4 5.6. 5.7. 21408 30001 30002 30004 30007 30008 30009 30410 63016 131026 131047 131049'),
        (4, 'autoresponder autoreply autoreplied outofoffice vacation challenge challengeresponse challengeverification addresschange openrelaytest subscribe'),
        (5, 'unsubscribe unsubscribed unsubscribedaddress unsubscribedrecipient suppressunsubscribe 606 21610 131050'),
        (6, 'complaint complained spamcomplaint spamreport spamreportingaddress abuse suppresscomplaint 607')]) AS entry
)
COMMENT 'What the bounces of message providers mean, one row for each word and code.';

CREATE OR REPLACE VIEW {{database}}.v_sales {{on_cluster}}
(
    month Date COMMENT 'First day of the month',
    orders UInt64 COMMENT 'Conversions of the settings'' goal, also those of nobody known',
    revenue Float64 COMMENT 'Their revenue in the currency of reports',
    refunded Float64 COMMENT 'What of it was given back since, and what was paid back in this month for goods returned without an order',
    margin Float64 COMMENT 'What of revenue is margin',
    customers UInt64 COMMENT 'People who ordered',
    new_customers UInt64 COMMENT 'Those who did for the first time',
    active_people UInt64 COMMENT 'People with any event; bots are none',
    aov Float64 COMMENT 'Average order value: revenue / orders',
    arpu Nullable(Float64) COMMENT 'Average revenue per user: revenue / active_people',
    arppu Nullable(Float64) COMMENT 'Average revenue per paying user: revenue / customers',
    orders_per_customer Nullable(Float64) COMMENT 'orders of known people / customers',
    repeat_rate Nullable(Float64) COMMENT 'Share of customers who had ordered before, in this month or earlier, by orders whose time is known'
)
AS
WITH assumeNotNull((SELECT timezone FROM {{database}}.v_attribution_settings)) AS zone
SELECT
    o.month AS month,
    o.orders AS orders,
    o.revenue AS revenue,
    o.refunded AS refunded,
    o.margin AS margin,
    o.customers AS customers,
    o.new_customers AS new_customers,
    a.active_people AS active_people,
    ifNull(o.revenue / nullIf(o.orders, 0), 0) AS aov,
    o.revenue / nullIf(a.active_people, 0) AS arpu,
    o.revenue / nullIf(o.customers, 0) AS arppu,
    o.known_orders / nullIf(o.customers, 0) AS orders_per_customer,
    o.repeaters / nullIf(o.customers, 0) AS repeat_rate
FROM
(
    SELECT
        toStartOfMonth(day) AS month,
        countIf(NOT is_return) AS orders,
        sumIf(toFloat64(ifNull(v.revenue, 0)), NOT is_return) AS revenue,
        revenue - sum(toFloat64(ifNull(v.net_revenue, 0))) AS refunded,
        sumIf(toFloat64(ifNull(v.revenue, 0)) * margin_rate, NOT is_return) AS margin,
        countIf(NOT is_return AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS known_orders,
        uniqExactIf(profile_id, NOT is_return AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS customers,
        countIf(is_first) AS new_customers,
        uniqExactIf(profile_id, NOT is_return AND NOT is_first AND NOT time_doubtful AND profile_id != toUUID('00000000-0000-0000-0000-000000000000')) AS repeaters
    FROM {{database}}.sale_values AS v
    WHERE conversion_type = (SELECT goal FROM {{database}}.v_attribution_settings)
    GROUP BY month
) AS o
LEFT JOIN
(
    SELECT toStartOfMonth(toDate(toTimeZone(occurred_at, zone))) AS month, uniqExact(profile_id) AS active_people
    FROM {{database}}.v_touchpoints
    WHERE profile_id != toUUID('00000000-0000-0000-0000-000000000000') AND NOT is_bot
    GROUP BY month
) AS a ON a.month = o.month
COMMENT 'Orders, customers and what they spend on average, one row for each month with an order or a return.';
