-- Orders, conversions and credits agree on every day, for every goal and model
SELECT day, conversion_type, model, orders, conversions, credits
FROM {{ source('throughline', 'v_reconciliation') }}
WHERE alert
