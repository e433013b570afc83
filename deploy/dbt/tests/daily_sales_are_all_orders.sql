-- The model has every order of the view, once
SELECT (SELECT sum(orders) FROM {{ ref('daily_sales') }}) AS modelled, count() AS orders
FROM {{ source('throughline', 'v_conversion_values') }}
WHERE conversion_type = 'purchase'
HAVING modelled != orders
