-- The smallest value of each minute, beside the largest: what a meter of the aggregation Min reads.
-- Minutes that were rolled up before this file say nothing of it. Their default is below every value, so that it stays the
-- smallest of whatever is merged with it: a minimum over such minutes reads as "not known", never as a number that is only
-- that of the newer rows. No meter of the aggregation Min can be older than this file.
ALTER TABLE usage_by_minute ADD COLUMN IF NOT EXISTS quantity_min SimpleAggregateFunction(min, Decimal(38, 18))
DEFAULT toDecimal128('-99999999999999999999.999999999999999999', 18) AFTER quantity_max;

-- The view is changed in place: it never stops rolling up, and a consumer of the release before feeds it as this one does.
ALTER TABLE processed_to_usage_by_minute MODIFY QUERY
SELECT tenant, meter, customer,
       toDateTime(toStartOfMinute(time), 'UTC') AS minute,
       toDateTime(toStartOfHour(stored_at), 'UTC') AS stored_hour,
       group_values,
       count() AS events,
       sum(toDecimal256(quantity, 18)) AS quantity_sum,
       max(quantity) AS quantity_max,
       min(quantity) AS quantity_min,
       uniqExactState(unique_value) AS unique_values
FROM processed_events
GROUP BY tenant, meter, customer, minute, stored_hour, group_values;
