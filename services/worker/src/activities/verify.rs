//! Computing invoices again; `meridian-billing` compares.

use meridian_billing::invoice::{Computation, InvoiceError, RecomputeError};
use meridian_records::StoredComputation;

use super::BillingActivities;
use crate::{
    failure::StepError,
    metrics::OutcomeLabel,
    wire::{VerifiedInvoices, VerifiedPage, VerifyPage},
};

/// A step ends within seconds, so that a worker that stops loses little.
const PAGE_MAX: u32 = 2000;
/// What is held in memory at a time.
const FETCH_MAX: u32 = 200;

enum Proof {
    Identical,
    OtherEngine,
    Differing(RecomputeError),
}

pub(super) async fn page(with: &BillingActivities, asked: VerifyPage) -> Result<VerifiedPage, StepError> {
    let mut page = VerifiedPage { report: VerifiedInvoices::default(), last: asked.after, more: true };
    for _ in 0..PAGE_MAX / FETCH_MAX {
        let stored = with.records.computations(page.last.as_ref(), FETCH_MAX).await?;
        page.more = stored.len() == FETCH_MAX as usize;
        for computation in stored {
            count(with, &mut page.report, &computation);
            page.last = Some(computation.invoice);
        }
        if !page.more {
            break;
        }
    }
    Ok(page)
}

fn count(with: &BillingActivities, report: &mut VerifiedInvoices, stored: &StoredComputation) {
    let StoredComputation { tenant, invoice, engine_version, text } = stored;
    let outcome = match proof(text) {
        Proof::Identical => {
            report.identical += 1;
            "identical"
        }
        Proof::OtherEngine => {
            report.other_engine += 1;
            "other_engine"
        }
        Proof::Differing(error) => {
            tracing::error!(%tenant, %invoice, engine_version, %error, "an invoice does not prove itself");
            report.differing += 1;
            if report.examples.len() < VerifiedInvoices::EXAMPLES_MAX {
                report.examples.push(invoice.clone());
            }
            "differing"
        }
    };
    with.metrics.verified.get_or_create(&OutcomeLabel { outcome }).inc();
}

fn proof(text: &str) -> Proof {
    match Computation::verify(text) {
        Ok(_) => Proof::Identical,
        Err(RecomputeError::Invoice(InvoiceError::EngineVersion(_))) => Proof::OtherEngine,
        Err(error) => Proof::Differing(error),
    }
}
