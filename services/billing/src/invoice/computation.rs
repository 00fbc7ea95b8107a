//! An invoice with its input, as it is stored: whoever doubts it computes it again and compares bytes.

use serde::{Deserialize, Serialize};

use super::{ComputedInvoice, InvoiceError, InvoiceInput, LineError, compute};

/// An invoice with its input, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Computation {
    pub input: InvoiceInput,
    pub invoice: ComputedInvoice,
}

/// Why a stored computation does not prove itself.
#[derive(Debug, thiserror::Error)]
pub enum RecomputeError {
    #[error("the stored computation cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    #[error(transparent)]
    Invoice(#[from] InvoiceError),
    #[error("computing it again gives other bytes, first at byte {at}")]
    Differs { at: usize },
}

impl Computation {
    pub fn of(input: InvoiceInput) -> Result<Self, InvoiceError> {
        let input = input.only_what_counts().map_err(LineError::from)?;
        let invoice = compute(&input)?;
        Ok(Self { input, invoice })
    }

    /// One text for one computation: fields in declared order, maps sorted, decimals as canonical strings.
    pub fn canonical_json(&self) -> String {
        serde_json::to_string(self).expect("strings, integers and string-keyed maps always serialize")
    }

    /// Computes a stored text again; Ok when every byte is the same.
    pub fn verify(text: &str) -> Result<Self, RecomputeError> {
        let stored: Self = serde_json::from_str(text)?;
        let again = Self::of(stored.input)?;
        let bytes = again.canonical_json();
        if bytes == text {
            return Ok(again);
        }
        let same = bytes.bytes().zip(text.bytes()).take_while(|(a, b)| a == b).count();
        Err(RecomputeError::Differs { at: same })
    }
}
