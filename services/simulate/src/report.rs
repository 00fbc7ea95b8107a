//! A simulation as JSON for programs and as a table for people.

use std::fmt::Write as _;

use meridian_billing::{
    decimal::Amount,
    invoice::{ComputedInvoice, Line},
    money::Currency,
    period::Period,
};
use serde_json::{Map, Value, json};

use crate::run::Simulation;

/// `{invoices: [{period, lines, subtotal, discounts, credits, tax, taxes, total, currency}], balances}`. All decimals are
/// strings: amounts of money with the currency's digits, everything else with the digits that it has.
pub fn to_json(simulation: &Simulation) -> Value {
    let invoices: Vec<Value> =
        simulation.invoices.iter().map(|(period, invoice)| invoice_json(*period, invoice)).collect();
    json!({"invoices": invoices, "balances": []})
}

fn invoice_json(period: Period, invoice: &ComputedInvoice) -> Value {
    let ComputedInvoice { currency, lines, subtotal, tax, total } = invoice;
    json!({
        "period": period,
        "lines": lines.iter().map(|line| line_json(line, *currency)).collect::<Vec<_>>(),
        "subtotal": currency.format(*subtotal),
        "discounts": currency.format(Amount::ZERO),
        "credits": currency.format(Amount::ZERO),
        "tax": currency.format(*tax),
        "taxes": [],
        "total": currency.format(*total),
        "currency": currency,
    })
}

fn line_json(line: &Line, currency: Currency) -> Value {
    let mut value = camel_case(serde_json::to_value(line).unwrap_or_default());
    if let Some(fields) = value.as_object_mut() {
        fields.shift_remove("meterVersion");
        fields.insert("amount".to_owned(), currency.format(line.amount).into());
    }
    value
}

/// The names of fields as Kubernetes and the API of other billing systems write them. Values stay as they are.
fn camel_case(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields.into_iter().map(|(name, value)| (camel(&name), camel_case(value))).collect::<Map<_, _>>(),
        ),
        Value::Array(items) => Value::Array(items.into_iter().map(camel_case).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

/// One table a period: description, quantity, amount; then the total.
pub fn to_table(simulation: &Simulation) -> String {
    let mut text = String::new();
    for (period, invoice) in &simulation.invoices {
        let Period { start, end } = period;
        let ComputedInvoice { currency, lines, total, .. } = invoice;
        let width = lines.iter().map(|line| line.description.chars().count()).max().unwrap_or(0).max(20);
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{start} to {end}");
        for line in lines {
            let amount = currency.format(line.amount);
            let _ = writeln!(
                text,
                "  {:<width$}  {:>20}  {amount:>16}",
                line.description,
                line.quantity.to_string()
            );
        }
        let total = currency.format(*total);
        let _ = writeln!(text, "  {:<width$}  {:>20}  {total:>16}\n", "Total", currency.to_string());
    }
    text
}
