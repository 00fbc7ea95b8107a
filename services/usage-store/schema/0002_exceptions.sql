-- What could not be processed, with its typed reason and the bytes as they came. Nothing is logged and dropped.
-- Rows are never changed: a row that was processed later has a row in quarantine_releases.
CREATE TABLE IF NOT EXISTS quarantined_events (
    tenant          LowCardinality(String),
    reason          LowCardinality(String),
    detail          String CODEC(ZSTD(1)),
    meter           LowCardinality(String),
    type            LowCardinality(String),
    source          LowCardinality(String),
    id              String,
    payload         String CODEC(ZSTD(1)),
    stored_at       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    kafka_topic     LowCardinality(String),
    kafka_partition Int32,
    kafka_offset    Int64
) ENGINE = MergeTree
PARTITION BY toYYYYMM(stored_at)
ORDER BY (tenant, stored_at, kafka_partition, kafka_offset, meter)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- One row for each quarantined row that a later catalogue could decide. Read as an anti-join with the table above.
CREATE TABLE IF NOT EXISTS quarantine_releases (
    quarantined_at  DateTime64(6, 'UTC'),
    meter           LowCardinality(String),
    outcome         LowCardinality(String),
    stored_at       DateTime64(6, 'UTC'),
    kafka_topic     LowCardinality(String),
    kafka_partition Int32,
    kafka_offset    Int64
) ENGINE = MergeTree
ORDER BY (kafka_topic, kafka_partition, quarantined_at, kafka_offset, meter)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- The same id sent again with another payload or time. The first one is billed; the other is shown, never billed.
CREATE TABLE IF NOT EXISTS event_conflicts (
    tenant          LowCardinality(String),
    source          LowCardinality(String),
    id              String,
    payload         String CODEC(ZSTD(1)),
    payload_hash    UInt64,
    first_payload_hash UInt64,
    first_partition Int32,
    first_offset    Int64,
    stored_at       DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    kafka_topic     LowCardinality(String),
    kafka_partition Int32,
    kafka_offset    Int64
) ENGINE = MergeTree
PARTITION BY toYYYYMM(stored_at)
ORDER BY (tenant, stored_at, kafka_partition, kafka_offset)
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;

-- The meters by which batches were decided, by the hash of their content. A batch that a crash interrupted is decided
-- again by the meters of its first time; a few rows a month.
CREATE TABLE IF NOT EXISTS meter_snapshots (
    hash            String,
    meters          String CODEC(ZSTD(1)),
    stored_at       DateTime64(6, 'UTC')
) ENGINE = MergeTree
ORDER BY hash
SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1;
