//! A column of type timestamptz as a jiff timestamp: microseconds, UTC, exactly. Private to this crate's rows and
//! bindings; everything public speaks `jiff::Timestamp`.

use jiff::Timestamp;
use sqlx::{
    Decode, Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef},
};

/// 2000-01-01T00:00:00Z, where Postgres counts from, in microseconds since 1970.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instant(pub Timestamp);

impl Type<Postgres> for Instant {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("timestamptz")
    }
}

impl PgHasArrayType for Instant {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::array_of("timestamptz")
    }
}

impl Encode<'_, Postgres> for Instant {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <i64 as Encode<Postgres>>::encode_by_ref(&(self.0.as_microsecond() - POSTGRES_EPOCH_US), buffer)
    }
}

impl Decode<'_, Postgres> for Instant {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        if value.format() == PgValueFormat::Text {
            return Err(
                "a timestamptz came as text; queries here always bind, so it must come as binary".into()
            );
        }
        let microseconds: i64 = <i64 as Decode<Postgres>>::decode(value)?;
        let since_1970 =
            microseconds.checked_add(POSTGRES_EPOCH_US).ok_or("timestamptz out of range (infinity?)")?;
        Ok(Self(Timestamp::from_microsecond(since_1970)?))
    }
}

impl From<Timestamp> for Instant {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp)
    }
}

pub(crate) fn optional(timestamp: Option<Timestamp>) -> Option<Instant> {
    timestamp.map(Instant)
}

pub(crate) fn read_optional(
    row: &sqlx::postgres::PgRow,
    column: &str,
) -> Result<Option<Timestamp>, sqlx::Error> {
    use sqlx::Row;
    Ok(row.try_get::<Option<Instant>, _>(column)?.map(|instant| instant.0))
}
