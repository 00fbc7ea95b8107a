//! Credit notes of an invoice: what it asked for too much, given back line by line.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use meridian_billing::{
    credit_note::LineTax,
    decimal::Amount,
    ids::{PlanName, PriceName},
    money::Currency,
};
use meridian_records::{CreditNote as Record, PriceCredit};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    List,
    invoice_changes::{REASON_BYTES_MAX, check_written},
    invoices, shown,
};
use crate::{
    app::App,
    auth::Caller,
    extract::{Body, Paging, Parameters},
    idempotency::Seed,
    problem::Problem,
};

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CreditNote {
    #[schema(example = "cn_01k2h8v9x0e6t8w4y2z0a1b2c3")]
    id: String,
    /// A tenant's numbers have no gaps.
    #[schema(example = "CN-000001")]
    number: String,
    invoice_id: String,
    #[schema(example = "USD")]
    currency: String,
    lines: Vec<CreditNoteLine>,
    /// The sum of the lines.
    #[schema(example = "5.00")]
    amount: String,
    /// Each tax that goes back with them.
    taxes: Vec<CreditedTax>,
    /// All that goes back: the lines, and the taxes that are not within them.
    #[schema(example = "5.95")]
    total: String,
    reason: String,
    created_at: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CreditNoteLine {
    #[schema(example = "starter")]
    plan: String,
    #[schema(example = "calls")]
    price: String,
    #[schema(example = "5.00")]
    amount: String,
    taxes: Vec<CreditedTax>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CreditedTax {
    #[schema(example = "vat")]
    name: String,
    /// Whether it is within the amount.
    inclusive: bool,
    #[schema(example = "0.95")]
    amount: String,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "an outage", "lines": [{"price": "calls", "amount": "5.00"}]}))]
pub(crate) struct CreateCreditNote {
    /// Why, for whoever reads the note.
    #[schema(min_length = 1, max_length = 1024)]
    reason: String,
    #[schema(min_items = 1)]
    lines: Vec<CreditLine>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreditLine {
    /// Needed where prices of several plans have the same name.
    #[serde(default)]
    #[schema(example = "starter")]
    plan: Option<String>,
    /// Name of a price that the invoice charges.
    #[schema(example = "calls")]
    price: String,
    /// Of what the price came to after discounts and credits; more than 0. Taxes that are added go back on top of it.
    #[schema(example = "5.00")]
    amount: String,
}

/// The credit notes of an invoice, in the order of their making.
#[utoipa::path(get, path = "/v1/invoices/{invoice_id}/credit-notes", tag = "Credit notes", operation_id = "listCreditNotes",
    params(("invoice_id" = String, Path, description = "inv_…"), Paging), responses((status = 200, body = List<CreditNote>)))]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(invoice_id): Path<String>,
    Parameters(paging): Parameters<Paging>,
) -> Result<Json<List<CreditNote>>, Problem> {
    let id = invoices::invoice_id_of(&invoice_id)?;
    let listed = caller.records(&app).credit_notes(&id, &paging.page()?).await?;
    Ok(List::of(listed.ok_or_else(|| Problem::not_found("invoice"))?, show))
}

/// Gives back parts of an issued or paid invoice, with their parts of its taxes. All notes of an invoice together give back no
/// more of a price than the invoice charges.
#[utoipa::path(post, path = "/v1/invoices/{invoice_id}/credit-notes", tag = "Credit notes", operation_id = "createCreditNote",
    params(("invoice_id" = String, Path, description = "inv_…")), request_body = CreateCreditNote,
    responses((status = 201, body = CreditNote)))]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(invoice_id): Path<String>,
    Seed(seed): Seed,
    Body(body): Body<CreateCreditNote>,
) -> Result<(StatusCode, Json<CreditNote>), Problem> {
    let id = invoices::invoice_id_of(&invoice_id)?;
    let CreateCreditNote { reason, lines } = body;
    check_written("reason", &reason, REASON_BYTES_MAX)?;
    let requests = lines
        .into_iter()
        .enumerate()
        .map(|(index, line)| line.checked(index))
        .collect::<Result<Vec<_>, _>>()?;
    let by = caller.by("POST /v1/invoices/{invoice_id}/credit-notes");
    let note = caller.records(&app).create_credit_note(&id, &requests, &reason, seed, &by).await?;
    Ok((StatusCode::CREATED, Json(show(note))))
}

impl CreditLine {
    fn checked(self, index: usize) -> Result<PriceCredit, Problem> {
        let Self { plan, price, amount } = self;
        let invalid =
            |field: &str, problem: String| Problem::invalid(format!("lines[{index}].{field}"), problem);
        Ok(PriceCredit {
            plan: plan.map(PlanName::new).transpose().map_err(|error| invalid("plan", error.to_string()))?,
            price: PriceName::new(price).map_err(|error| invalid("price", error.to_string()))?,
            amount: amount.parse::<Amount>().map_err(|error| invalid("amount", error.to_string()))?,
        })
    }
}

fn show(note: Record) -> CreditNote {
    let Record { id, invoice, number, currency, lines, amount, taxes, total, reason, created_at } = note;
    let show_line = |line: meridian_records::CreditNoteLine| {
        let meridian_records::CreditNoteLine { plan, price, amount, taxes } = line;
        CreditNoteLine {
            plan: plan.into_string(),
            price: price.into_string(),
            amount: shown::amount(currency, amount),
            taxes: show_taxes(currency, taxes),
        }
    };
    CreditNote {
        id,
        number,
        invoice_id: invoice.into_string(),
        currency: currency.code().to_owned(),
        lines: lines.into_iter().map(show_line).collect(),
        amount: shown::amount(currency, amount),
        taxes: show_taxes(currency, taxes),
        total: shown::amount(currency, total),
        reason,
        created_at: shown::instant(created_at),
    }
}

fn show_taxes(currency: Currency, taxes: Vec<LineTax>) -> Vec<CreditedTax> {
    let show = |LineTax { name, inclusive, amount }: LineTax| CreditedTax {
        name: name.into_string(),
        inclusive,
        amount: shown::amount(currency, amount),
    };
    taxes.into_iter().map(show).collect()
}
