-- received = stored + duplicate + suppressed + dead-lettered, in every hour and of every source
SELECT hour, source, difference
FROM {{ source('throughline', 'v_accounting') }}
WHERE difference != 0
