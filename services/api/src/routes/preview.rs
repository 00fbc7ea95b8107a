//! What a period would cost if it were billed now, or had been billed at an instant before. Computed by the same engine from the same terms as the
//! invoice, and kept nowhere.

use axum::{Json, extract::State};
use jiff::Timestamp;
use meridian_billing::invoice::{ComputedInvoice, compute};
use meridian_records::PeriodTerms;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{
    invoices::{Invoice, Line},
    shown,
};
use crate::{app::App, auth::Caller, extract::Body, problem::Problem};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"subscription_id": "sub_01k2h8v9x0e6t8w4y2z0a1b2c3"}))]
pub(crate) struct PreviewInvoice {
    subscription_id: String,
    /// RFC 3339; the default is the first period without an issued invoice.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    period_start: Option<Timestamp>,
    /// RFC 3339: usage counts as it was known then; the default is now. Terms and credits are those of now.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    at: Option<Timestamp>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Preview {
    #[serde(flatten)]
    invoice: Invoice,
    /// Whether the period was over by then. Before that its usage still grows.
    period_over: bool,
}

/// The invoice of a period as it would be now, or by what was known of its usage at an instant.
#[utoipa::path(post, path = "/v1/invoices/preview", tag = "Invoices", operation_id = "previewInvoice",
    request_body = PreviewInvoice, responses((status = 200, body = Preview)))]
pub(crate) async fn preview(
    State(app): State<App>,
    caller: Caller,
    Body(body): Body<PreviewInvoice>,
) -> Result<Json<Preview>, Problem> {
    let now = Timestamp::now();
    let at = body.at.unwrap_or(now);
    if at > now {
        return Err(Problem::invalid(
            "at",
            "is in the future: nobody knows what will have been used by then",
        ));
    }
    let id = shown::subscription_id(&body.subscription_id)?;
    let records = caller.records(&app);
    let mut terms = records.period_terms(&id, body.period_start).await?;
    let mut input = app.rating().invoice_input(&mut terms, at).await?;
    let (customer, currency) = (&terms.subscription.customer_id, terms.plan.spec.currency);
    let overage = terms.subscription.terms.overage;
    input.adjustments.credits = records.credits_for(customer, currency, &input, overage).await?;
    let computed = compute(&input).map_err(|error| Problem::internal(&error))?;
    Ok(Json(Preview { period_over: terms.period.end <= at, invoice: show(&terms, computed, at, now) }))
}

fn show(terms: &PeriodTerms, computed: ComputedInvoice, at: Timestamp, now: Timestamp) -> Invoice {
    let currency = computed.currency;
    let line = |line: meridian_billing::invoice::Line| Line {
        // What was only computed has no id to go on with.
        id: String::new(),
        price: line.price.into_string(),
        role: shown::word(&line.role),
        description: line.description,
        meter: line.meter.map(|meter| meter.into_string()),
        meter_version: line.meter_version,
        quantity: shown::quantity(line.quantity),
        unit_amount: line.unit_amount.map(|amount| amount.to_string()),
        amount: shown::amount(currency, line.amount),
        period_start: shown::instant(line.period.start),
        period_end: shown::instant(line.period.end),
        trace: serde_json::to_value(&line.trace).unwrap_or(Value::Null),
    };
    Invoice {
        id: String::new(),
        number: None,
        status: "preview".to_owned(),
        version: 0,
        part: 0,
        revision: 0,
        reissued: false,
        customer_id: terms.subscription.customer_id.clone(),
        customer: terms.subscription.customer.to_string(),
        subscription_id: terms.subscription.id.to_string(),
        plan: terms.plan.name.to_string(),
        plan_version: terms.plan.version,
        period_start: shown::instant(terms.period.start),
        period_end: shown::instant(terms.period.end),
        currency: currency.code().to_owned(),
        subtotal: shown::amount(currency, computed.subtotal),
        discounts: shown::amount(currency, computed.discounts),
        credits: shown::amount(currency, computed.credits),
        tax: shown::amount(currency, computed.tax),
        total: shown::amount(currency, computed.total),
        lines: computed.lines.into_iter().map(line).collect(),
        stored_before: shown::instant(at),
        catalogue_version: terms.catalogue_version,
        engine_version: meridian_billing::ENGINE_VERSION,
        created_at: shown::instant(now),
        issued_at: None,
        paid_at: None,
        payment_reference: None,
        voided_at: None,
        void_reason: None,
    }
}
