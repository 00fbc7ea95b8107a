-- What was sent, once per id, never changed. The base of every replay and of every proof.
-- Plain MergeTree: a row is unique when it is written (the consumer's dedupe index), so nothing ever has to be merged away
-- and no query needs FINAL (55 times the price of a plain sum, notes of the pipeline).
-- Partitioned by the month of storing, not of the event: all rows of one insert are stored at one instant, so that an
-- insert makes one part whatever event times a client sends, and an archive of a month never changes afterwards.
-- Ordered for replay: one tenant's events of one type through time. Look-up by id goes through the bloom filter.
-- The deduplication window counts blocks. A late insert dies at its deadline after seconds (insert.rs), and 10,000 blocks
-- are more than a region inserts in that time by two orders of magnitude.
-- fsync: an offset is committed behind these rows, so they must survive the machine's power as well.
CREATE TABLE IF NOT EXISTS raw_events (
    tenant          LowCardinality(String),
    project         LowCardinality(String),
    source          LowCardinality(String),
    id              String,
    type            LowCardinality(String),
    customer        String,
    time            DateTime64(6, 'UTC'),
    received_at     DateTime64(6, 'UTC'),
    stored_at       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    properties      String CODEC(ZSTD(1)),
    identity        UInt128,
    payload_hash    UInt64,
    kafka_topic     LowCardinality(String),
    kafka_partition Int32 CODEC(ZSTD(1)),
    kafka_offset    Int64 CODEC(ZSTD(1)),
    INDEX by_identity identity TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_stored_at stored_at TYPE minmax GRANULARITY 4
) ENGINE = MergeTree
PARTITION BY toYYYYMM(stored_at)
ORDER BY (tenant, type, time, identity)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- One row for each event and meter that counts it: what is billed, with everything that says why.
-- Ordered for the two questions that are asked: a customer's usage of a meter in a period, and the events behind a line.
CREATE TABLE IF NOT EXISTS processed_events (
    tenant          LowCardinality(String),
    project         LowCardinality(String),
    customer        String,
    meter           LowCardinality(String),
    meter_version   Int64 CODEC(ZSTD(1)),
    subscription    String CODEC(ZSTD(1)),
    plan_version    String CODEC(ZSTD(1)),
    prices          Array(String),
    quantity        Decimal(38, 18),
    unique_value    Nullable(String),
    group_values    String CODEC(ZSTD(1)),
    source          LowCardinality(String),
    id              String,
    time            DateTime64(6, 'UTC'),
    received_at     DateTime64(6, 'UTC'),
    stored_at       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    identity        UInt128,
    kafka_topic     LowCardinality(String),
    kafka_partition Int32 CODEC(ZSTD(1)),
    kafka_offset    Int64 CODEC(ZSTD(1)),
    INDEX by_stored_at stored_at TYPE minmax GRANULARITY 1,
    INDEX by_identity identity TYPE bloom_filter(0.01) GRANULARITY 1
) ENGINE = MergeTree
PARTITION BY toYYYYMM(stored_at)
ORDER BY (tenant, meter, customer, time, identity)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- Usage by minute of the event. The aggregations whose partial results stay small are here, each with its own law of merging:
-- count and sum add, max takes the larger (min the smaller, 0003), distinct values are united. What hangs on the order or on
-- each of the values (the latest, a level through time, a percentile) is read from processed_events. Sums run in 256 bits, because a sum of
-- Decimal(38,18) wraps silently.
-- The hour of storing is part of the key. It makes usage as of a cutoff exact without reading a period's events:
-- whole hours before the cutoff come from here, only the cutoff's own hour from processed_events. Events of a minute are
-- nearly always stored within one hour, so that it hardly adds rows.
CREATE TABLE IF NOT EXISTS usage_by_minute (
    tenant          LowCardinality(String),
    meter           LowCardinality(String),
    customer        String,
    minute          DateTime('UTC') CODEC(Delta, ZSTD(1)),
    stored_hour     DateTime('UTC') CODEC(Delta, ZSTD(1)),
    group_values    String CODEC(ZSTD(1)),
    events          SimpleAggregateFunction(sum, UInt64),
    quantity_sum    SimpleAggregateFunction(sum, Decimal(76, 18)),
    quantity_max    SimpleAggregateFunction(max, Decimal(38, 18)),
    unique_values   AggregateFunction(uniqExact, Nullable(String))
) ENGINE = AggregatingMergeTree
PARTITION BY toYYYYMM(stored_hour)
ORDER BY (tenant, meter, customer, minute, stored_hour, group_values)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS processed_to_usage_by_minute TO usage_by_minute AS
SELECT tenant, meter, customer,
       toDateTime(toStartOfMinute(time), 'UTC') AS minute,
       toDateTime(toStartOfHour(stored_at), 'UTC') AS stored_hour,
       group_values,
       count() AS events,
       sum(toDecimal256(quantity, 18)) AS quantity_sum,
       max(quantity) AS quantity_max,
       uniqExactState(unique_value) AS unique_values
FROM processed_events
GROUP BY tenant, meter, customer, minute, stored_hour, group_values;
