//! A simulation as JSON for programs and as a table for people.

use std::fmt::Write as _;

use jiff::Timestamp;
use meridian_billing::{
    decimal::Amount,
    invoice::{ComputedInvoice, InvoiceKind, Line, LineRole},
    ledger::{Balance, Debt},
    money::Currency,
    period::Period,
    tax::AppliedTax,
};
use serde_json::{Map, Value, json};

use crate::run::{Simulated, Simulation};

/// `{invoices: [{period, lines, subtotal, discounts, credits, tax, taxes, total, currency}], balances}`, `kind` beside the
/// period. All decimals are strings: amounts of money with the currency's digits, everything else with the digits that it has.
/// `debts` stands beside the balances where usage was carried.
pub fn to_json(simulation: &Simulation) -> Value {
    let Simulation { invoices, balances, debts, outside: _, unbilled: _ } = simulation;
    let currency = invoices.first().map(|made| made.invoice.currency);
    let money =
        |amount: Amount| currency.map_or_else(|| amount.to_string(), |currency| currency.format(amount));
    let balance = |balance: &Balance| {
        let Balance { grant, granted, used, expired, rolled_over, remaining } = balance;
        json!({
            "grant": grant.name,
            "effectiveAt": grant.effective_at,
            "granted": money(*granted),
            "used": money(*used),
            "expired": money(*expired),
            "rolledOver": money(*rolled_over),
            "remaining": money(*remaining),
        })
    };
    let mut json = json!({
        "invoices": invoices.iter().map(invoice_json).collect::<Vec<_>>(),
        "balances": balances.iter().map(balance).collect::<Vec<_>>(),
    });
    if let (Some(fields), false) = (json.as_object_mut(), debts.is_empty()) {
        let debt = |debt: &Debt| json!({"price": debt.price, "amount": money(debt.amount)});
        fields.insert("debts".to_owned(), debts.iter().map(debt).collect());
    }
    json
}

fn invoice_json(made: &Simulated) -> Value {
    let Simulated { period, kind, invoice } = made;
    let ComputedInvoice { currency, lines, subtotal, discounts, credits, tax, taxes, charged: _, total } =
        invoice;
    json!({
        "period": period,
        "kind": kind,
        "lines": lines.iter().map(|line| line_json(line, *currency)).collect::<Vec<_>>(),
        "subtotal": currency.format(*subtotal),
        "discounts": currency.format(*discounts),
        "credits": currency.format(*credits),
        "tax": currency.format(*tax),
        "taxes": taxes.iter().map(|tax| tax_json(tax, *currency)).collect::<Vec<_>>(),
        "total": currency.format(*total),
        "currency": currency,
    })
}

fn tax_json(tax: &AppliedTax, currency: Currency) -> Value {
    let AppliedTax { name, percent, inclusive, base, amount, shares: _ } = tax;
    json!({
        "name": name,
        "percent": percent,
        "inclusive": inclusive,
        "base": currency.format(*base),
        "amount": currency.format(*amount),
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

/// One table an invoice: its lines, the sums that are not zero, the total. Then what is left of each grant.
pub fn to_table(simulation: &Simulation) -> String {
    let Simulation { invoices, balances, debts, outside: _, unbilled: _ } = simulation;
    let mut text = String::new();
    for made in invoices {
        let Simulated { period, kind, invoice } = made;
        let on_the_way = match kind {
            InvoiceKind::Period => "",
            InvoiceKind::Progressive => ", a threshold was reached",
            InvoiceKind::Opening => ", at its start",
        };
        table(&mut text, &format!("{}{on_the_way}", between(period)), &invoice_rows(period, invoice));
    }
    if let Some(currency) = invoices.first().map(|made| made.invoice.currency) {
        let rows: Vec<Row> = balances.iter().map(|balance| balance_row(balance, currency)).collect();
        if !rows.is_empty() {
            table(&mut text, "Credits that are left", &rows);
        }
        let rows: Vec<Row> = debts.iter().map(|debt| debt_row(debt, currency)).collect();
        if !rows.is_empty() {
            table(&mut text, "Carried, for the next credits to pay", &rows);
        }
    }
    text
}

/// What is said, a quantity or a currency, an amount.
type Row = (String, String, String);

fn table(text: &mut String, head: &str, rows: &[Row]) {
    let width = rows.iter().map(|(words, _, _)| words.chars().count()).max().unwrap_or(0).max(20);
    // Writing into a String cannot fail.
    let _ = writeln!(text, "{head}");
    for (words, middle, amount) in rows {
        let _ = writeln!(text, "  {words:<width$}  {middle:>20}  {amount:>16}");
    }
    text.push('\n');
}

fn invoice_rows(period: &Period, invoice: &ComputedInvoice) -> Vec<Row> {
    let ComputedInvoice { currency, lines, subtotal, discounts, credits, tax, taxes, charged: _, total } =
        invoice;
    let mut rows: Vec<Row> = lines
        .iter()
        .map(|line| {
            // Most lines are of the invoice's period; of another one it is to be seen.
            let of = match line.period.start >= period.end || line.role == LineRole::Proration {
                true => format!(" ({})", between(&line.period)),
                false => String::new(),
            };
            (format!("{}{of}", line.description), line.quantity.to_string(), currency.format(line.amount))
        })
        .collect();
    let adjusted = [*discounts, *credits, *tax].iter().any(|amount| !amount.is_zero());
    let sums = [
        ("Subtotal", *subtotal, adjusted),
        ("Discounts", discounts.negated(), !discounts.is_zero()),
        ("Credits", credits.negated(), !credits.is_zero()),
        ("Taxes", *tax, !tax.is_zero()),
    ];
    let shown = sums.into_iter().filter(|(_, _, shown)| *shown);
    rows.extend(shown.map(|(words, amount, _)| (words.to_owned(), String::new(), currency.format(amount))));
    rows.push(("Total".to_owned(), currency.to_string(), currency.format(*total)));
    let within = taxes.iter().filter(|tax| tax.inclusive);
    rows.extend(within.map(|tax| {
        let words = format!("  {} {} % of {} is within it", tax.name, tax.percent, currency.format(tax.base));
        (words, String::new(), currency.format(tax.amount))
    }));
    rows
}

fn balance_row(balance: &Balance, currency: Currency) -> Row {
    let Balance { grant, granted, used, expired, rolled_over, remaining } = balance;
    let mut words =
        format!("{} from {}: {} given", grant.name, instant(grant.effective_at), currency.format(*granted));
    for (amount, what) in [(used, "used"), (expired, "expired"), (rolled_over, "rolled over")] {
        if !amount.is_zero() {
            let _ = write!(words, ", {} {what}", currency.format(*amount));
        }
    }
    (words, currency.to_string(), currency.format(*remaining))
}

fn debt_row(debt: &Debt, currency: Currency) -> Row {
    (debt.price.to_string(), currency.to_string(), currency.format(debt.amount))
}

fn between(period: &Period) -> String {
    format!("{} to {}", instant(period.start), instant(period.end))
}

/// Midnight in UTC is said by its date.
fn instant(at: Timestamp) -> String {
    let text = at.to_string();
    text.strip_suffix("T00:00:00Z").map_or(text.clone(), str::to_owned)
}
