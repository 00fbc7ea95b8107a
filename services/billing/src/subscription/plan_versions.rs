//! Which version of a plan bills a subscription at an instant, and at which instants within a period it becomes another one.
//!
//! A change of a plan makes a version, and the version's [`UpdatePolicy`] says whom it moves: with `New` those who take the
//! plan later, with `NextPeriod` everybody from their next period on, with `Immediate` everybody at once. From this follows:
//!
//! - A version reaches a subscription, or never does. A `New` one does not reach who had the plan before; every other one
//!   does, whatever came between: a `NextPeriod` version 3 moves a subscriber whom a `New` version 2 left on version 1.
//! - A period begins with the newest version that reaches the subscription and was made by then. If none was (billing began
//!   in the past), it begins with the newest of all that reach it, because nothing else was ever promised. The first version
//!   reaches everybody: who has the plan must be billed by something.
//! - Within a period only an `Immediate` version changes that, at the instant at which it was made, if it is newer than the one
//!   in force and bills something else. One that bills the same cuts nothing: two halves of a period could round otherwise
//!   than the whole, for no reason that a customer could see.
//!
//! Nothing here knows prices, shares or a clock: what a cut does to amounts is share.rs's. Neighbours: plan_change.rs says what
//! differs between two versions, timeline.rs cuts periods.

use jiff::Timestamp;

use crate::catalogue::UpdatePolicy;

/// A version of a plan, as far as it decides who is billed by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionMade<B> {
    /// The newer, the greater.
    pub number: i32,
    pub made_at: Timestamp,
    pub policy: UpdatePolicy,
    /// What decides its invoices, to be compared and nothing else: [`crate::catalogue::PlanSpec::as_billed`] and the meters
    /// that its prices count. Equal: they bill alike.
    pub bills: B,
}

/// A subscription's hold on a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldPlan {
    /// From when it has the plan, or when it was made, whichever is later: versions made by then are what it took.
    pub taken_at: Timestamp,
    /// Where its period begins; in a period that began with another plan, where this one takes over.
    pub period_start: Timestamp,
}

/// An instant within a period from which another version bills.
#[derive(Debug, PartialEq, Eq)]
pub struct PlanCut<'a, B> {
    pub at: Timestamp,
    pub version: &'a VersionMade<B>,
}

/// The version that bills the instant `at` of the period. The versions may come in any order. None: there is none.
pub fn version_in_force<B: PartialEq>(
    versions: &[VersionMade<B>],
    held: HeldPlan,
    at: Timestamp,
) -> Option<&VersionMade<B>> {
    let reaching = reaching(versions, held.taken_at);
    let begun_with = begun_with(&reaching, held.period_start)?;
    let cuts = cuts_after(begun_with, &reaching, held.period_start);
    Some(cuts.into_iter().take_while(|cut| cut.at <= at).last().map_or(begun_with, |cut| cut.version))
}

/// The instants at which another version comes into force, in order: after `held.period_start` and before `until`, where the
/// period ends or the plan is left.
pub fn cuts<B: PartialEq>(
    versions: &[VersionMade<B>],
    held: HeldPlan,
    until: Timestamp,
) -> Vec<PlanCut<'_, B>> {
    let reaching = reaching(versions, held.taken_at);
    let Some(begun_with) = begun_with(&reaching, held.period_start) else { return Vec::new() };
    let mut cuts = cuts_after(begun_with, &reaching, held.period_start);
    cuts.retain(|cut| cut.at < until);
    cuts
}

/// In order of number.
fn reaching<B>(versions: &[VersionMade<B>], taken_at: Timestamp) -> Vec<&VersionMade<B>> {
    let first = versions.iter().map(|version| version.number).min();
    let mut reaching: Vec<&VersionMade<B>> = versions
        .iter()
        .filter(|version| match version.policy {
            UpdatePolicy::New => version.made_at <= taken_at || Some(version.number) == first,
            UpdatePolicy::NextPeriod | UpdatePolicy::Immediate => true,
        })
        .collect();
    reaching.sort_by_key(|version| version.number);
    reaching
}

fn begun_with<'a, B>(reaching: &[&'a VersionMade<B>], start: Timestamp) -> Option<&'a VersionMade<B>> {
    let made_by_then = reaching.iter().rev().find(|version| version.made_at <= start);
    made_by_then.or(reaching.last()).copied()
}

/// In order of time, however long the period is.
fn cuts_after<'a, B: PartialEq>(
    begun_with: &'a VersionMade<B>,
    reaching: &[&'a VersionMade<B>],
    start: Timestamp,
) -> Vec<PlanCut<'a, B>> {
    let mut at_once: Vec<&'a VersionMade<B>> = reaching
        .iter()
        .filter(|version| cuts_at_once(version.policy) && version.made_at > start)
        .copied()
        .collect();
    // Two writers may have got their instants in the other order than their numbers.
    at_once.sort_by_key(|version| (version.made_at, version.number));
    let mut in_force = begun_with;
    let mut cuts = Vec::new();
    for (index, version) in at_once.iter().enumerate() {
        // Of two versions of one instant the newer holds: the other is never in force.
        let overtaken = at_once.get(index + 1).is_some_and(|next| next.made_at == version.made_at);
        if overtaken || version.number < in_force.number || version.bills == in_force.bills {
            continue;
        }
        in_force = version;
        cuts.push(PlanCut { at: version.made_at, version });
    }
    cuts
}

fn cuts_at_once(policy: UpdatePolicy) -> bool {
    match policy {
        UpdatePolicy::Immediate => true,
        UpdatePolicy::New | UpdatePolicy::NextPeriod => false,
    }
}
