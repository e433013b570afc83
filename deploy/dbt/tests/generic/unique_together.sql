{% test unique_together(model, columns) %}
SELECT {{ columns | join(', ') }}, count() AS times
FROM {{ model }}
GROUP BY {{ columns | join(', ') }}
HAVING times > 1
{% endtest %}
