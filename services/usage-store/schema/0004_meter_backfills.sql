-- How far a partition's raw events of before a meter were counted for it. The first row of a meter says since when the
-- partition's batches count it themselves (begun_at); each piece of its past that was counted adds a row, the last one with done.
-- Rows are never changed: the newest of a meter holds.
CREATE TABLE IF NOT EXISTS meter_backfills (
    meter_id         String,
    meter            LowCardinality(String),
    begun_at         DateTime64(6, 'UTC'),
    through_tenant   LowCardinality(String),
    through_time     DateTime64(6, 'UTC'),
    through_identity UInt128,
    events           UInt64,
    done             UInt8,
    stored_at        DateTime64(6, 'UTC'),
    kafka_topic      LowCardinality(String),
    kafka_partition  Int32
) ENGINE = MergeTree
ORDER BY (kafka_topic, kafka_partition, meter_id, stored_at)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
