//! The states of an invoice, and which command may move it from one to another:
//!
//! ```text
//!            Recompute            Pay
//!             ┌────┐        ┌───────────▶ Paid
//!             ▼    │ Issue  │
//!   open ──▶ Draft ──▶ Issued ──▶ Void ──▶ Reissue: a draft of the next revision
//!                            Void
//! ```
//!
//! - A draft takes in late events until its grace window ends; only then is it issued, and from then on lines and totals are
//!   frozen. What comes later is a credit note or a line of a later invoice.
//! - A draft that asks for nothing may be skipped instead of issued, if the subscription says so: its period is done, and it takes
//!   no number.
//! - Only an issued invoice that is not paid can be voided; a paid one is corrected by a credit note. A void one can be
//!   issued again, once, as a new invoice of the next revision.
//! - Every command names the version of the state that it saw and each change makes the next version: of a payment and a void
//!   that race, the store's compare-and-set on (invoice, version) lets exactly one through, and the other is refused with
//!   [`Refusal::Stale`]: it loads the state again and decides anew.
//!
//! Numbers are no business of this file: the shell gives an invoice its number in the transaction that carries out Issue.
//! It never looks at a clock and never talks to a payment provider.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceStatus {
    Draft,
    Issued,
    Paid,
    Void,
    /// It asks for nothing, and the subscription wants no such invoices: never issued, without a number.
    Skipped,
}

impl InvoiceStatus {
    /// In stores and for clients.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Issued => "issued",
            Self::Paid => "paid",
            Self::Skipped => "skipped",
            Self::Void => "void",
        }
    }
}

/// Where an invoice stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvoiceState {
    pub status: InvoiceStatus,
    /// Raised by one with each change; what a command must have seen.
    pub version: u64,
    /// 1 for the first invoice of a period, one more for each that replaces a void one.
    pub revision: u32,
    /// The end of the grace window: no earlier is the draft issued.
    pub grace_until: Timestamp,
    /// A void invoice was issued again.
    pub reissued: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceAction {
    /// The draft is computed again, with what came in since.
    Recompute,
    Issue,
    /// Instead of issuing it.
    Skip,
    Pay,
    Void,
    /// A void invoice is made again as a draft of the next revision, whose grace window ends at this instant.
    Reissue {
        grace_until: Timestamp,
    },
}

/// What somebody wants to happen to an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvoiceCommand {
    pub action: InvoiceAction,
    /// The version that the decision was made on.
    pub seen_version: u64,
    pub at: Timestamp,
}

/// What to store: the invoice's next state and, after Reissue, the new invoice's first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transition {
    pub next: InvoiceState,
    pub replacement: Option<InvoiceState>,
}

/// Why a command is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the invoice is at version {version}, the command was made on version {seen}: load it again")]
    Stale { version: u64, seen: u64 },
    #[error("late events are taken until {grace_until}, the draft cannot be issued before")]
    InGraceWindow { grace_until: Timestamp },
    #[error("the invoice is a draft: issue it first")]
    NotIssued,
    #[error("the invoice was issued and does not change any more: write a credit note, or void it")]
    Frozen,
    #[error("the invoice is issued already")]
    AlreadyIssued,
    #[error("the invoice is paid: write a credit note")]
    Paid,
    #[error("the invoice is void")]
    Void,
    #[error("the invoice asks for nothing and was skipped")]
    Skipped,
    #[error("only a void invoice is issued again: void it first")]
    NotVoid,
    #[error("the invoice was issued again already, as its next revision")]
    AlreadyReissued,
    #[error("the counter of versions or revisions is exhausted")]
    Exhausted,
}

impl InvoiceState {
    /// The first draft of a period.
    pub fn open(grace_until: Timestamp) -> Self {
        Self { status: InvoiceStatus::Draft, version: 1, revision: 1, grace_until, reissued: false }
    }
}

/// What a command does to an invoice. A stale command is refused before anything else is looked at.
pub fn transition(state: &InvoiceState, command: &InvoiceCommand) -> Result<Transition, Refusal> {
    use InvoiceAction::{Issue, Pay, Recompute, Reissue, Skip, Void};
    use InvoiceStatus as Status;
    let InvoiceCommand { action, seen_version, at } = *command;
    if seen_version != state.version {
        return Err(Refusal::Stale { version: state.version, seen: seen_version });
    }
    match (state.status, action) {
        (Status::Draft, Recompute) => moved(state, Status::Draft),
        (Status::Draft, Issue | Skip) if at < state.grace_until => {
            Err(Refusal::InGraceWindow { grace_until: state.grace_until })
        }
        (Status::Draft, Issue) => moved(state, Status::Issued),
        (Status::Draft, Skip) => moved(state, Status::Skipped),
        (Status::Draft, Pay | Void) => Err(Refusal::NotIssued),
        (Status::Issued, Recompute) => Err(Refusal::Frozen),
        (Status::Issued, Issue | Skip) => Err(Refusal::AlreadyIssued),
        (Status::Issued, Pay) => moved(state, Status::Paid),
        (Status::Issued, Void) => moved(state, Status::Void),
        (Status::Paid, Recompute | Issue | Skip | Pay | Void) => Err(Refusal::Paid),
        (Status::Void, Recompute | Issue | Skip | Pay | Void) => Err(Refusal::Void),
        (Status::Skipped, Recompute | Issue | Skip | Pay | Void) => Err(Refusal::Skipped),
        (Status::Draft | Status::Issued | Status::Paid | Status::Skipped, Reissue { grace_until: _ }) => {
            Err(Refusal::NotVoid)
        }
        (Status::Void, Reissue { grace_until: _ }) if state.reissued => Err(Refusal::AlreadyReissued),
        (Status::Void, Reissue { grace_until }) => {
            let Transition { next, replacement: _ } = moved(state, Status::Void)?;
            let revision = state.revision.checked_add(1).ok_or(Refusal::Exhausted)?;
            Ok(Transition {
                next: InvoiceState { reissued: true, ..next },
                replacement: Some(InvoiceState { revision, ..InvoiceState::open(grace_until) }),
            })
        }
    }
}

fn moved(state: &InvoiceState, status: InvoiceStatus) -> Result<Transition, Refusal> {
    let InvoiceState { status: _, version, revision, grace_until, reissued } = *state;
    let version = version.checked_add(1).ok_or(Refusal::Exhausted)?;
    Ok(Transition {
        next: InvoiceState { status, version, revision, grace_until, reissued },
        replacement: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: &str = "2026-04-01T06:00:00Z";

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn state(status: InvoiceStatus) -> InvoiceState {
        InvoiceState { status, version: 7, revision: 3, grace_until: at(GRACE), reissued: false }
    }

    fn command(action: InvoiceAction) -> InvoiceCommand {
        InvoiceCommand { action, seen_version: 7, at: at(GRACE) }
    }

    /// "status version revision", with the replacement behind a "+", or the refusal.
    fn check(state: InvoiceState, action: InvoiceAction) -> String {
        let shown = |state: InvoiceState| format!("{:?} {} {}", state.status, state.version, state.revision);
        match transition(&state, &command(action)) {
            Ok(Transition { next, replacement: None }) => shown(next),
            Ok(Transition { next, replacement: Some(new) }) => format!("{} + {}", shown(next), shown(new)),
            Err(refusal) => format!("{refusal:?}"),
        }
    }

    #[test]
    fn every_pair_of_status_and_action_is_decided() {
        use InvoiceAction::{Issue, Pay, Recompute, Skip, Void};
        let reissue = InvoiceAction::Reissue { grace_until: at("2026-04-02T00:00:00Z") };
        let actions = [Recompute, Issue, Skip, Pay, Void, reissue];
        let table = [
            (
                InvoiceStatus::Draft,
                ["Draft 8 3", "Issued 8 3", "Skipped 8 3", "NotIssued", "NotIssued", "NotVoid"],
            ),
            (
                InvoiceStatus::Issued,
                ["Frozen", "AlreadyIssued", "AlreadyIssued", "Paid 8 3", "Void 8 3", "NotVoid"],
            ),
            (InvoiceStatus::Paid, ["Paid", "Paid", "Paid", "Paid", "Paid", "NotVoid"]),
            (InvoiceStatus::Void, ["Void", "Void", "Void", "Void", "Void", "Void 8 3 + Draft 1 4"]),
            (InvoiceStatus::Skipped, ["Skipped", "Skipped", "Skipped", "Skipped", "Skipped", "NotVoid"]),
        ];
        for (status, expected) in table {
            for (action, expected) in actions.into_iter().zip(expected) {
                assert_eq!(check(state(status), action), expected, "{status:?} {action:?}");
            }
        }
    }

    #[test]
    fn a_draft_is_issued_when_its_grace_window_is_over_and_not_before() {
        let before =
            InvoiceCommand { at: at("2026-04-01T05:59:59.999999999Z"), ..command(InvoiceAction::Issue) };
        let draft = state(InvoiceStatus::Draft);
        assert_eq!(transition(&draft, &before), Err(Refusal::InGraceWindow { grace_until: at(GRACE) }));
        assert_eq!(check(draft, InvoiceAction::Issue), "Issued 8 3");
    }

    #[test]
    fn of_a_payment_and_a_void_exactly_one_wins() {
        let issued = state(InvoiceStatus::Issued);
        for (first, second) in
            [(InvoiceAction::Pay, InvoiceAction::Void), (InvoiceAction::Void, InvoiceAction::Pay)]
        {
            let won = transition(&issued, &command(first)).expect("the first one wins").next;
            let stale = Err(Refusal::Stale { version: 8, seen: 7 });
            assert_eq!(transition(&won, &command(second)), stale);
            // Having loaded the new state, the loser is told what happened.
            let informed = InvoiceCommand { seen_version: 8, ..command(second) };
            let refusal = if first == InvoiceAction::Pay { Refusal::Paid } else { Refusal::Void };
            assert_eq!(transition(&won, &informed), Err(refusal));
        }
    }

    #[test]
    fn a_void_invoice_is_issued_again_once_with_its_own_grace_window() {
        let end = at("2026-04-02T00:00:00Z");
        let reissue = command(InvoiceAction::Reissue { grace_until: end });
        let Transition { next, replacement } =
            transition(&state(InvoiceStatus::Void), &reissue).expect("issued again");
        let replacement = replacement.expect("a new draft");
        assert_eq!(
            replacement,
            InvoiceState {
                status: InvoiceStatus::Draft,
                version: 1,
                revision: 4,
                grace_until: end,
                reissued: false
            }
        );
        let again = InvoiceCommand { seen_version: next.version, ..reissue };
        assert_eq!(transition(&next, &again), Err(Refusal::AlreadyReissued));
    }

    #[test]
    fn a_status_is_one_word_everywhere() {
        for status in [InvoiceStatus::Draft, InvoiceStatus::Issued, InvoiceStatus::Paid, InvoiceStatus::Void]
        {
            assert_eq!(serde_json::to_value(status).expect("JSON"), status.as_str());
        }
    }

    #[test]
    fn counters_do_not_wrap() {
        let last = InvoiceState { version: u64::MAX, ..state(InvoiceStatus::Issued) };
        let command = InvoiceCommand { seen_version: u64::MAX, ..command(InvoiceAction::Pay) };
        assert_eq!(transition(&last, &command), Err(Refusal::Exhausted));
    }
}
