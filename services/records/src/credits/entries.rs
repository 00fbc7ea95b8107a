//! The rows of a ledger. They are only ever appended; the database refuses everything else, and an entry that does not
//! balance.

use meridian_billing::ledger::{Entry, EntryKind, Posting};
use sqlx::{
    Postgres, Row, Transaction,
    postgres::PgRow,
    types::{BigDecimal, Json},
};

use super::LedgerKey;
use crate::{
    error::{Doing, StoreError},
    instant::Instant,
};

/// All of them, in order.
pub(super) async fn all(
    transaction: &mut Transaction<'_, Postgres>,
    key: &LedgerKey,
) -> Result<Vec<Entry>, StoreError> {
    behind(transaction, key, 0, i64::MAX).await
}

/// Those behind `seq`, in order, at most `limit`. One statement, so that an entry is never seen without its postings.
pub(super) async fn behind(
    transaction: &mut Transaction<'_, Postgres>,
    key: &LedgerKey,
    seq: i64,
    limit: i64,
) -> Result<Vec<Entry>, StoreError> {
    let rows = sqlx::query(
        "SELECT e.seq, e.key, e.at, e.kind, (
             SELECT coalesce(jsonb_agg(jsonb_build_object('account', p.account, 'amount', trim_scale(p.amount)::text)
                                       ORDER BY p.position), '[]')
             FROM ledger_postings p
             WHERE p.tenant = e.tenant AND p.customer_id = e.customer_id AND p.currency = e.currency AND p.seq = e.seq
         ) AS postings
         FROM ledger_entries e
         WHERE e.tenant = $1 AND e.customer_id = $2 AND e.currency = $3 AND e.seq > $4 ORDER BY e.seq LIMIT $5",
    )
    .bind(key.tenant.as_str())
    .bind(&key.customer_id)
    .bind(key.currency.code())
    .bind(seq)
    .bind(limit)
    .fetch_all(&mut **transaction)
    .await
    .doing("reading the entries of a ledger")?;
    rows.iter().map(read).collect()
}

/// Two statements, however many entries there are.
pub(super) async fn append(
    transaction: &mut Transaction<'_, Postgres>,
    key: &LedgerKey,
    new: &[Entry],
) -> Result<(), StoreError> {
    const DOING: &str = "appending to a ledger";
    if new.is_empty() {
        return Ok(());
    }
    let seqs = new.iter().map(seq).collect::<Result<Vec<i64>, _>>()?;
    sqlx::query(
        "INSERT INTO ledger_entries (tenant, customer_id, currency, seq, key, at, kind, postings)
         SELECT $1, $2, $3, * FROM unnest($4::bigint[], $5::text[], $6::timestamptz[], $7::jsonb[], $8::integer[])",
    )
    .bind(key.tenant.as_str())
    .bind(&key.customer_id)
    .bind(key.currency.code())
    .bind(&seqs)
    .bind(new.iter().map(|entry| entry.key.clone()).collect::<Vec<String>>())
    .bind(new.iter().map(|entry| Instant(entry.at)).collect::<Vec<_>>())
    .bind(new.iter().map(|entry| Json(&entry.kind)).collect::<Vec<_>>())
    .bind(new.iter().map(|entry| entry.postings.len() as i32).collect::<Vec<i32>>())
    .execute(&mut **transaction)
    .await
    .doing(DOING)?;
    let postings: Vec<(i64, i32, &Posting)> = seqs
        .iter()
        .zip(new)
        .flat_map(|(seq, entry)| {
            (0..).zip(&entry.postings).map(|(position, posting)| (*seq, position, posting))
        })
        .collect();
    sqlx::query(
        "INSERT INTO ledger_postings (tenant, customer_id, currency, seq, position, account, amount)
         SELECT $1, $2, $3, * FROM unnest($4::bigint[], $5::integer[], $6::jsonb[], $7::numeric[])",
    )
    .bind(key.tenant.as_str())
    .bind(&key.customer_id)
    .bind(key.currency.code())
    .bind(postings.iter().map(|(seq, _, _)| *seq).collect::<Vec<i64>>())
    .bind(postings.iter().map(|(_, position, _)| *position).collect::<Vec<i32>>())
    .bind(postings.iter().map(|(_, _, posting)| Json(&posting.account)).collect::<Vec<_>>())
    .bind(postings.iter().map(|(_, _, posting)| posting.amount.to_bigdecimal()).collect::<Vec<BigDecimal>>())
    .execute(&mut **transaction)
    .await
    .doing(DOING)?;
    Ok(())
}

fn seq(entry: &Entry) -> Result<i64, StoreError> {
    i64::try_from(entry.seq)
        .map_err(|error| StoreError::unreadable("numbering the entries of a ledger", error))
}

fn read(row: &PgRow) -> Result<Entry, StoreError> {
    const DOING: &str = "reading an entry of a ledger";
    Ok(Entry {
        seq: u64::try_from(row.try_get::<i64, _>("seq").doing(DOING)?)
            .map_err(|error| StoreError::unreadable(DOING, error))?,
        key: row.try_get("key").doing(DOING)?,
        at: row.try_get::<Instant, _>("at").doing(DOING)?.0,
        kind: row.try_get::<Json<EntryKind>, _>("kind").doing(DOING)?.0,
        postings: row.try_get::<Json<Vec<Posting>>, _>("postings").doing(DOING)?.0,
    })
}
