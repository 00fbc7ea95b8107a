//! The invoices of many periods of one tenant, saved and issued in one transaction: what a month's end does. However many they
//! are, the number of statements is the same.
//!
//! Only what is plain goes together: the period's first invoice, of a customer without credits in its currency. Anything else (an
//! invoice is there already, credits are to be spent, late usage is charged, an invoice of nothing is to be skipped) goes by itself, through the
//! same functions as ever, when the transaction is through. One that cannot be issued is its own answer and holds up no other.
//!
//! Twice, or by two at once, it makes one invoice each: the unique key of a period decides who made it, and who comes second finds
//! it. The invoices of a transaction take their numbers together, under the lock of the tenant's counter: none is left out.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use meridian_billing::{
    ids::InvoiceId,
    invoice_state::{InvoiceAction, InvoiceCommand, InvoiceState, InvoiceStatus, transition},
    subscription::ZeroInvoices,
};
use serde_json::{Value, json};
use sqlx::{Postgres, Row, Transaction, postgres::PgRow};

use super::{
    InvoiceDraft, InvoiceError, SaveOutcome,
    change::stored_version,
    draft::{self, LinesOf, NewInvoice},
    late, read,
};
use crate::{
    By, Subscription, TenantRecords,
    audit::{self, Audited},
    catalogue::parsed,
    error::{Doing, StoreError},
    id::{self, Kind},
    instant::Instant,
    subscriptions::{self, Billed},
};

const DOING: &str = "issuing the invoices of many periods";

/// What became of a draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedPeriod {
    pub invoice: InvoiceId,
    pub outcome: SaveOutcome,
}

/// How a draft is dealt with.
enum Way<'a> {
    Plain(PlainDraft<'a>),
    /// Its period is done: by this invoice.
    Done(InvoiceId),
    ByItself,
}

/// The first invoice of a period, which nothing but its number is missing.
struct PlainDraft<'a> {
    draft: &'a InvoiceDraft,
    invoice: InvoiceId,
    customer_id: String,
    /// Once it is issued.
    version: i64,
}

impl TenantRecords {
    /// Saves and issues each draft, as [`TenantRecords::save_invoice`] and [`TenantRecords::issue_invoice`] do: one answer for
    /// each, in their order. An error of the whole means that the store did not answer; the same call again goes on.
    pub async fn save_and_issue(
        &self,
        drafts: &[InvoiceDraft],
        issued_at: Timestamp,
        by: &By,
    ) -> Result<Vec<Result<IssuedPeriod, InvoiceError>>, StoreError> {
        let mut issued = match self.issue_together(drafts, issued_at, by).await {
            Ok(issued) => issued,
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                // One of them is refused by the database itself. By themselves the others are issued, and that one says why.
                tracing::warn!(%error, source = %error.source, "invoices are issued one by one");
                BTreeMap::new()
            }
        };
        let mut answers = Vec::with_capacity(drafts.len());
        for (index, draft) in drafts.iter().enumerate() {
            answers.push(match issued.remove(&index) {
                Some(issued) => Ok(issued),
                None => self.issue_by_itself(draft, issued_at, by).await,
            });
        }
        Ok(answers)
    }

    async fn issue_by_itself(
        &self,
        draft: &InvoiceDraft,
        issued_at: Timestamp,
        by: &By,
    ) -> Result<IssuedPeriod, InvoiceError> {
        let saved = self.save_invoice(draft, by).await?;
        let issued = self.issue_invoice(&saved.invoice.id, issued_at, by).await?;
        Ok(IssuedPeriod { invoice: issued.id, outcome: saved.outcome })
    }

    /// Those that went together or were done before, by their places among the drafts.
    async fn issue_together(
        &self,
        drafts: &[InvoiceDraft],
        issued_at: Timestamp,
        by: &By,
    ) -> Result<BTreeMap<usize, IssuedPeriod>, StoreError> {
        let tenant = self.scope.tenant().as_str();
        let mut transaction = self.scope.begin(&self.pool).await?;
        let ways = Ways::read(&mut transaction, tenant, drafts).await?;
        let mut issued = BTreeMap::new();
        let mut plain: Vec<(usize, PlainDraft<'_>)> = Vec::new();
        let mut subscriptions = BTreeSet::new();
        for (index, draft) in drafts.iter().enumerate() {
            match ways.of(draft, issued_at)? {
                // Of two periods of one subscription the second goes by itself, behind the first.
                Way::Plain(draft) if subscriptions.insert(draft.draft.subscription.as_str()) => {
                    plain.push((index, draft));
                }
                Way::Plain(_) | Way::ByItself => {}
                Way::Done(invoice) => {
                    issued.insert(index, IssuedPeriod { invoice, outcome: SaveOutcome::Kept });
                }
            }
        }
        // Everybody inserts in one order, so that two who do the same wait for each other and not both.
        plain.sort_by(|(_, one), (_, other)| one.draft.subscription.cmp(&other.draft.subscription));
        for (index, invoice) in issue_plain(&mut transaction, tenant, plain, issued_at, by).await? {
            issued.insert(index, IssuedPeriod { invoice, outcome: SaveOutcome::Created });
        }
        transaction.commit().await.doing(DOING)?;
        Ok(issued)
    }
}

/// What decides how drafts are dealt with, as it stands now.
struct Ways {
    subscriptions: BTreeMap<String, PgRow>,
    /// The newest invoice of each period, by subscription and start.
    newest: BTreeMap<(String, Timestamp), PgRow>,
    /// Customer and currency of those who were ever given credits.
    ledgers: BTreeSet<(String, String)>,
}

impl Ways {
    async fn read(
        transaction: &mut Transaction<'_, Postgres>,
        tenant: &str,
        drafts: &[InvoiceDraft],
    ) -> Result<Self, StoreError> {
        let ids: Vec<&str> = drafts.iter().map(|draft| draft.subscription.as_str()).collect();
        let subscriptions = subscriptions::rows(transaction, tenant, &ids).await?;
        let customers = subscriptions.values().map(|row| row.try_get("customer_id").doing(DOING));
        let customers: Vec<String> = customers.collect::<Result<_, _>>()?;
        let ledgers: Vec<(String, String)> = sqlx::query_as(
            "SELECT customer_id, currency FROM ledgers WHERE tenant = $1 AND customer_id = ANY($2)",
        )
        .bind(tenant)
        .bind(customers)
        .fetch_all(&mut **transaction)
        .await
        .doing(DOING)?;
        let newest = newest(transaction, tenant, drafts).await?;
        Ok(Self { subscriptions, newest, ledgers: ledgers.into_iter().collect() })
    }

    fn of<'a>(&self, draft: &'a InvoiceDraft, issued_at: Timestamp) -> Result<Way<'a>, StoreError> {
        let Some(row) = self.subscriptions.get(draft.subscription.as_str()) else { return Ok(Way::ByItself) };
        let Ok(subscription) = subscriptions::read(row) else { return Ok(Way::ByItself) };
        if late::may_charge_late_usage(&draft.computation) {
            return Ok(Way::ByItself);
        }
        if let Some(newest) = self.newest.get(&(draft.subscription.to_string(), draft.period_start)) {
            return done(newest, &subscription, draft);
        }
        let ledger = (subscription.customer_id.clone(), draft.currency.code().to_owned());
        let says_nothing = draft.lines.iter().all(|line| line.amount.is_zero());
        let skipped = subscription.terms.zero_invoices == ZeroInvoices::Skip && says_nothing;
        if draft.part != 0 || skipped || self.ledgers.contains(&ledger) || draft::check_sum(draft).is_err() {
            return Ok(Way::ByItself);
        }
        let Some(version) = issued_version(draft, issued_at) else { return Ok(Way::ByItself) };
        let invoice = id::new(Kind::Invoice).parse().map_err(|error| StoreError::unreadable(DOING, error))?;
        Ok(Way::Plain(PlainDraft { draft, invoice, customer_id: subscription.customer_id, version }))
    }
}

async fn newest(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    drafts: &[InvoiceDraft],
) -> Result<BTreeMap<(String, Timestamp), PgRow>, StoreError> {
    let rows = sqlx::query(
        "SELECT DISTINCT ON (i.subscription_id, i.period_start)
             i.invoice_id, i.subscription_id, i.period_start, i.period_end, i.state, i.version, i.revision, i.reissued
         FROM (SELECT DISTINCT * FROM unnest($2::text[], $3::timestamptz[])) AS asked (subscription_id, period_start)
         JOIN invoices i USING (subscription_id, period_start)
         WHERE i.tenant = $1 AND i.part = 0 ORDER BY i.subscription_id, i.period_start, i.revision DESC",
    )
    .bind(tenant)
    .bind(drafts.iter().map(|draft| draft.subscription.as_str()).collect::<Vec<_>>())
    .bind(drafts.iter().map(|draft| Instant(draft.period_start)).collect::<Vec<_>>())
    .fetch_all(&mut **transaction)
    .await
    .doing(DOING)?;
    let key = |row: &PgRow| {
        let start = row.try_get::<Instant, _>("period_start").doing(DOING)?.0;
        Ok((row.try_get("subscription_id").doing(DOING)?, start))
    };
    rows.into_iter().map(|row| Ok((key(&row)?, row))).collect()
}

/// Nothing is left to do where the period's invoice is no draft and the subscription has moved on from it.
fn done<'a>(newest: &PgRow, of: &Subscription, draft: &InvoiceDraft) -> Result<Way<'a>, StoreError> {
    let moved_on = of.next_period.is_none_or(|next| next.start > draft.period_start);
    Ok(match read::state(newest)?.status {
        InvoiceStatus::Issued | InvoiceStatus::Paid | InvoiceStatus::Skipped
            if moved_on && draft.part == 0 =>
        {
            Way::Done(parsed(newest, "invoice_id")?)
        }
        InvoiceStatus::Draft
        | InvoiceStatus::Issued
        | InvoiceStatus::Paid
        | InvoiceStatus::Skipped
        | InvoiceStatus::Void => Way::ByItself,
    })
}

/// The version of a period's first invoice once it is issued; None where it must not be issued at that time.
fn issued_version(draft: &InvoiceDraft, issued_at: Timestamp) -> Option<i64> {
    let state = InvoiceState::open(draft.period_end);
    let command = InvoiceCommand { action: InvoiceAction::Issue, seen_version: state.version, at: issued_at };
    let issued = transition(&state, &command).ok()?.next;
    stored_version(issued.version).ok()
}

/// Saves and issues them, and says which. What is missing, somebody else made meanwhile. Locks are taken in the order of
/// issue.rs: the invoices (nobody else sees them yet), the tenant's counter, the subscriptions.
async fn issue_plain(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    mut plain: Vec<(usize, PlainDraft<'_>)>,
    issued_at: Timestamp,
    by: &By,
) -> Result<Vec<(usize, InvoiceId)>, StoreError> {
    let new = plain.iter().map(|(_, PlainDraft { draft, invoice, customer_id, version: _ })| NewInvoice {
        id: invoice.as_str(),
        customer_id,
        revision: 0,
        draft,
    });
    let made = draft::insert_invoices(transaction, tenant, &new.collect::<Vec<_>>()).await?;
    plain.retain(|(_, plain)| made.contains(plain.invoice.as_str()));
    if plain.is_empty() {
        return Ok(Vec::new());
    }
    let lines = plain.iter().map(|(_, plain)| (plain.invoice.as_str(), plain.draft.lines.as_slice()));
    draft::insert_lines(transaction, tenant, &lines.collect::<Vec<LinesOf<'_>>>()).await?;
    let numbers = number_and_freeze(transaction, tenant, &plain, issued_at).await?;
    let audited =
        plain.iter().zip(numbers).flat_map(|((_, plain), number)| audited(plain, number, issued_at));
    audit::record_all(transaction, Some(tenant), by, &audited.collect::<Vec<_>>()).await?;
    let billed: Vec<Billed<'_>> = plain
        .iter()
        .map(|(_, PlainDraft { draft, .. })| Billed {
            subscription: draft.subscription.as_str(),
            start: draft.period_start,
            end: draft.period_end,
            terms_version: draft.terms_version,
        })
        .collect();
    subscriptions::advance_all(transaction, tenant, &billed).await?;
    Ok(plain.into_iter().map(|(index, plain)| (index, plain.invoice)).collect())
}

/// The numbers, in the order of the invoices.
async fn number_and_freeze(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: &str,
    plain: &[(usize, PlainDraft<'_>)],
    issued_at: Timestamp,
) -> Result<Vec<String>, StoreError> {
    let count = plain.len() as i64;
    let last: i64 = sqlx::query_scalar(
        "INSERT INTO invoice_sequences (tenant, last) VALUES ($1, $2)
         ON CONFLICT (tenant) DO UPDATE SET last = invoice_sequences.last + $2 RETURNING last",
    )
    .bind(tenant)
    .bind(count)
    .fetch_one(&mut **transaction)
    .await
    .doing(DOING)?;
    let sequences: Vec<i64> = (last - count + 1..=last).collect();
    let numbers: Vec<String> = sequences.iter().map(|sequence| super::issue::number(*sequence)).collect();
    let frozen = sqlx::query(
        "UPDATE invoices i SET state = 'issued', version = issued.version, sequence = issued.sequence, number = issued.number,
             issued_at = $6, updated_at = now()
         FROM unnest($2::text[], $3::bigint[], $4::text[], $5::bigint[]) AS issued (invoice_id, sequence, number, version)
         WHERE i.tenant = $1 AND i.invoice_id = issued.invoice_id",
    )
    .bind(tenant)
    .bind(plain.iter().map(|(_, plain)| plain.invoice.as_str()).collect::<Vec<_>>())
    .bind(&sequences)
    .bind(&numbers)
    .bind(plain.iter().map(|(_, plain)| plain.version).collect::<Vec<_>>())
    .bind(Instant(issued_at))
    .execute(&mut **transaction)
    .await
    .doing(DOING)?;
    match frozen.rows_affected() {
        rows if rows == plain.len() as u64 => Ok(numbers),
        rows => Err(StoreError::unreadable(DOING, format!("{rows} of {count} invoices took their number"))),
    }
}

/// The rows of the audit log that saving and issuing would write one after the other.
fn audited(plain: &PlainDraft<'_>, number: String, issued_at: Timestamp) -> [Audited; 2] {
    let entity = plain.invoice.to_string();
    let issued: Value = super::issue::audited(&number, issued_at);
    [
        Audited { action: "invoice.create", entity: entity.clone(), detail: draft::audited(plain.draft, 0) },
        Audited { action: "invoice.issue", entity, detail: json!(issued) },
    ]
}
