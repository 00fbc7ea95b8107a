//! Conditions: one list for a status, whose times change only when a condition's status does.
//!
//! Neighbours: `status` decides what they say; the words are in `meridian_crds::conditions`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use meridian_crds::conditions::{ConditionType, Reason};

/// What one condition says now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    pub type_: ConditionType,
    pub status: Truth,
    pub reason: Reason,
    pub message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    True,
    False,
    Unknown,
}

impl From<bool> for Truth {
    fn from(value: bool) -> Truth {
        if value { Truth::True } else { Truth::False }
    }
}

impl Truth {
    pub const fn as_str(self) -> &'static str {
        match self {
            Truth::True => "True",
            Truth::False => "False",
            Truth::Unknown => "Unknown",
        }
    }
}

impl Statement {
    pub fn new(
        type_: ConditionType,
        status: impl Into<Truth>,
        reason: Reason,
        message: impl Into<String>,
    ) -> Self {
        Statement { type_, status: status.into(), reason, message: message.into() }
    }
}

/// The list for a status: each statement dated by when its status last changed.
pub fn conditions(
    statements: &[Statement],
    before: &[Condition],
    generation: i64,
    now: Timestamp,
) -> Vec<Condition> {
    statements.iter().map(|statement| condition(statement, before, generation, now)).collect()
}

fn condition(statement: &Statement, before: &[Condition], generation: i64, now: Timestamp) -> Condition {
    let Statement { type_, status, reason, message } = statement;
    let same = before.iter().find(|old| old.type_ == type_.as_str() && old.status == status.as_str());
    Condition {
        type_: type_.as_str().to_owned(),
        status: status.as_str().to_owned(),
        reason: reason.as_str().to_owned(),
        message: message.clone(),
        observed_generation: Some(generation),
        // The server keeps whole seconds.
        last_transition_time: same.map_or_else(|| whole_seconds(now), |old| old.last_transition_time.clone()),
    }
}

fn whole_seconds(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

pub fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.type_ == type_.as_str())
}

/// Whether two lists say the same, whenever they came to say it.
pub fn same(a: &[Condition], b: &[Condition]) -> bool {
    let says = |condition: &Condition| {
        let Condition { type_, status, reason, message, observed_generation, last_transition_time: _ } =
            condition.clone();
        (type_, status, reason, message, observed_generation)
    };
    a.len() == b.len() && a.iter().map(says).eq(b.iter().map(says))
}

/// `Ready`, `Reconciling` and `Stalled` by kstatus' rules: exactly one of the three tells the story.
pub fn summary(outcome: Outcome) -> [Statement; 3] {
    use ConditionType::{Ready, Reconciling, Stalled};
    match outcome {
        Outcome::Done(message) => [
            Statement::new(Ready, true, Reason::Succeeded, message),
            Statement::new(Reconciling, false, Reason::Succeeded, "Nothing is left to do."),
            Statement::new(Stalled, false, Reason::Succeeded, "Nothing is in the way."),
        ],
        Outcome::Working(reason, message) => [
            Statement::new(Ready, false, reason, message.clone()),
            Statement::new(Reconciling, true, reason, message),
            Statement::new(Stalled, false, Reason::Progressing, "Nothing is in the way."),
        ],
        Outcome::Stuck(reason, message) => [
            Statement::new(Ready, false, reason, message.clone()),
            Statement::new(Reconciling, false, reason, "Waits for somebody to change something."),
            Statement::new(Stalled, true, reason, message),
        ],
        Outcome::Held(reason, message) => [
            Statement::new(Ready, false, reason, message.clone()),
            Statement::new(Reconciling, false, reason, message),
            Statement::new(Stalled, false, reason, "Nothing is in the way."),
        ],
    }
}

/// How a pass left its object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done(String),
    Working(Reason, String),
    /// Until a person changes something.
    Stuck(Reason, String),
    /// On request of the spec: paused.
    Held(Reason, String),
}
