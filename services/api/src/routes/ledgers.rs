//! What became of a customer's credits: balances as of any instant, and the entries that they follow from.

use axum::{
    Json,
    extract::{Path, State},
};
use jiff::{SignedDuration, Timestamp};
use meridian_billing::{
    ledger::{self, Account, EntryKind, GrantId},
    money::Currency,
};
use meridian_records::{Standing, TenantRecords};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{List, shown};
use crate::{
    app::App,
    auth::Caller,
    extract::{Paging, Parameters},
    problem::Problem,
};

/// How far ahead balances can be asked for: what recurs until then is computed.
const AHEAD_MAX: SignedDuration = SignedDuration::from_hours(366 * 24);

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LedgerFilter {
    /// A customer has a ledger in each currency in which it was given credits.
    #[param(required = true, example = "USD")]
    currency: Option<String>,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AsOf {
    /// RFC 3339, at most a year ahead; the default is now.
    #[param(value_type = Option<String>)]
    at: Option<Timestamp>,
}

/// How a customer's credits stand in one currency, as of an instant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Balances {
    currency: String,
    at: String,
    /// Of each grant that has begun by then, and of each recurrence of it by itself.
    balances: Vec<Balance>,
    /// What invoices carried, for the next credits to pay.
    debts: Vec<Debt>,
}

/// `used + expired + rolled_over + remaining = granted`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Balance {
    grant: GrantRef,
    /// What was given, with what rolled over from the recurrence before.
    #[schema(example = "50.00")]
    granted: String,
    used: String,
    expired: String,
    rolled_over: String,
    remaining: String,
}

/// A grant, or one recurrence of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GrantRef {
    #[schema(example = "welcome")]
    name: String,
    effective_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Debt {
    invoice_id: String,
    price: String,
    amount: String,
}

/// Amounts moved between accounts; its postings sum to zero. Entries are never changed and never removed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Entry {
    /// 1, 2, 3 … in the order in which they were appended.
    seq: u64,
    /// What it is about; there is one entry for each.
    #[schema(example = "grant/welcome/2026-07-01T00:00:00Z")]
    key: String,
    /// When it took effect.
    at: String,
    /// `grant`, `burn` (an invoice was paid), `settle` (a debt was paid), `expire`, `reopen` (a late invoice spent what had
    /// expired) or `void`.
    kind: String,
    postings: Vec<Posting>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Posting {
    /// `granted`, `available`, `consumed`, `expired` or `rolled_over` of a grant; `receivable` or `overage` of an invoice.
    account: String,
    grant: Option<GrantRef>,
    invoice_id: Option<String>,
    price: Option<String>,
    /// Into the account, or out of it where negative.
    #[schema(example = "-50.00")]
    amount: String,
}

/// What is left of a customer's credits, and what is owed, as of an instant.
#[utoipa::path(get, path = "/v1/customers/{customer_id}/balances", tag = "Credits", operation_id = "getBalances",
    params(("customer_id" = String, Path, description = "cus_…"), LedgerFilter, AsOf),
    responses((status = 200, body = Balances)))]
pub(crate) async fn balances(
    State(app): State<App>,
    caller: Caller,
    Path(customer_id): Path<String>,
    Parameters(filter): Parameters<LedgerFilter>,
    Parameters(as_of): Parameters<AsOf>,
) -> Result<Json<Balances>, Problem> {
    let records = caller.records(&app);
    let (id, currency) = ledger_of(&records, &customer_id, &filter).await?;
    let now = Timestamp::now();
    let at = as_of.at.unwrap_or(now);
    if at.duration_since(now) > AHEAD_MAX {
        return Err(Problem::parameter("at", "must not lie more than a year ahead"));
    }
    let Standing { balances, debts } = records.credit_standing(id, currency, at).await?;
    Ok(Json(Balances {
        currency: currency.code().to_owned(),
        at: shown::instant(at),
        balances: balances.into_iter().map(|balance| show_balance(currency, balance)).collect(),
        debts: debts.into_iter().map(|debt| show_debt(currency, debt)).collect(),
    }))
}

/// The entries of a customer's ledger, in the order in which they were appended.
#[utoipa::path(get, path = "/v1/customers/{customer_id}/ledger", tag = "Credits", operation_id = "listLedgerEntries",
    params(("customer_id" = String, Path, description = "cus_…"), LedgerFilter, Paging),
    responses((status = 200, body = List<Entry>)))]
pub(crate) async fn entries(
    State(app): State<App>,
    caller: Caller,
    Path(customer_id): Path<String>,
    Parameters(filter): Parameters<LedgerFilter>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<List<Entry>>, Problem> {
    let records = caller.records(&app);
    let (id, currency) = ledger_of(&records, &customer_id, &filter).await?;
    let listed = records.ledger_entries(id, currency, paging.cursor()?, paging.limit()?).await?;
    Ok(List::of(listed, |entry| show_entry(currency, entry)))
}

/// The customer comes first: whoever asks for somebody else's is told nothing more.
async fn ledger_of<'a>(
    records: &TenantRecords,
    customer_id: &'a str,
    filter: &LedgerFilter,
) -> Result<(&'a str, Currency), Problem> {
    let id = shown::id("customer", customer_id)?;
    records.customer(id).await?.ok_or_else(|| Problem::not_found("customer"))?;
    let code = filter.currency.as_deref();
    let code = code.ok_or_else(|| Problem::parameter("currency", "say which currency, such as USD"))?;
    let currency =
        code.parse().map_err(|_| Problem::parameter("currency", "is not a currency of ISO 4217"))?;
    Ok((id, currency))
}

fn show_balance(currency: Currency, balance: ledger::Balance) -> Balance {
    let ledger::Balance { grant, granted, used, expired, rolled_over, remaining } = balance;
    Balance {
        grant: show_grant(grant),
        granted: shown::amount(currency, granted),
        used: shown::amount(currency, used),
        expired: shown::amount(currency, expired),
        rolled_over: shown::amount(currency, rolled_over),
        remaining: shown::amount(currency, remaining),
    }
}

fn show_debt(currency: Currency, debt: ledger::Debt) -> Debt {
    let ledger::Debt { invoice, price, amount } = debt;
    Debt {
        invoice_id: invoice.into_string(),
        price: price.into_string(),
        amount: shown::amount(currency, amount),
    }
}

fn show_entry(currency: Currency, entry: ledger::Entry) -> Entry {
    let ledger::Entry { seq, key, at, kind, postings } = entry;
    let kind = match kind {
        EntryKind::Grant { .. } => "grant",
        EntryKind::Burn { .. } => "burn",
        EntryKind::Settle { .. } => "settle",
        EntryKind::Expire { .. } => "expire",
        EntryKind::Reopen { .. } => "reopen",
        EntryKind::Void { .. } => "void",
    };
    Entry {
        seq,
        key,
        at: shown::instant(at),
        kind: kind.to_owned(),
        postings: postings.into_iter().map(|posting| show_posting(currency, posting)).collect(),
    }
}

fn show_posting(currency: Currency, posting: ledger::Posting) -> Posting {
    let ledger::Posting { account, amount } = posting;
    let amount = shown::amount(currency, amount);
    let of_grant = |name: &str, grant| Posting {
        account: name.to_owned(),
        grant: Some(show_grant(grant)),
        invoice_id: None,
        price: None,
        amount: amount.clone(),
    };
    let of_invoice = |name: &str, invoice: meridian_billing::ids::InvoiceId, price: String| Posting {
        account: name.to_owned(),
        grant: None,
        invoice_id: Some(invoice.into_string()),
        price: Some(price),
        amount: amount.clone(),
    };
    match account {
        Account::Granted(grant) => of_grant("granted", grant),
        Account::Available(grant) => of_grant("available", grant),
        Account::Consumed(grant) => of_grant("consumed", grant),
        Account::Expired(grant) => of_grant("expired", grant),
        Account::RolledOver(grant) => of_grant("rolled_over", grant),
        Account::Receivable { invoice, price } => of_invoice("receivable", invoice, price.into_string()),
        Account::Overage { invoice, price } => of_invoice("overage", invoice, price.into_string()),
    }
}

fn show_grant(grant: GrantId) -> GrantRef {
    let GrantId { name, effective_at } = grant;
    GrantRef { name: name.into_string(), effective_at: shown::instant(effective_at) }
}
