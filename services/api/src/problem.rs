//! Every error that a client sees: RFC 9457 `application/problem+json` with a stable code. What went wrong inside stays in
//! the log; the client gets a sentence that says what to do.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use meridian_billing::{catalogue::SpecError, coupon::RedemptionError, credit_note, invoice_state::Refusal};
use meridian_rating::RatingError;
use meridian_records::{
    CouponError, CreditError, CreditNoteError, CustomerError, InvoiceError, SchemaError, StoreError,
    SubscriptionError,
};
use meridian_usage_store::{PriceUsageError, UsageStoreError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Stable codes; clients may key on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// No key, a malformed one, or one that was never known.
    Unauthorized,
    /// The key was revoked.
    KeyRevoked,
    NotFound,
    MethodNotAllowed,
    /// The body is not JSON of the documented shape.
    MalformedBody,
    /// A query parameter is missing or not valid.
    InvalidParameter,
    /// A field is not valid; `field` says which.
    Invalid,
    UnsupportedMediaType,
    BodyTooLarge,
    /// The key of a customer is taken.
    KeyTaken,
    /// The operator keeps it: change the Kubernetes object.
    ManagedByKubernetes,
    Archived,
    /// A customer with a running subscription cannot be archived.
    Subscribed,
    /// The coupon was redeemed as often as it may be.
    CouponUsedUp,
    /// The time to redeem the coupon is over.
    CouponExpired,
    CouponArchived,
    /// The coupon takes off an amount in another currency than the subscription is billed in.
    CouponCurrency,
    /// The draft was computed by an older engine: close its period again.
    DraftOutdated,
    /// The period to close has not ended.
    PeriodNotOver,
    /// Nothing is left to bill.
    NothingToBill,
    /// The terms and the usage make no invoice.
    Unbillable,
    /// What is billed, or has taken effect, does not change any more.
    AlreadyBilled,
    /// The invoice changed since the version that the request saw: load it again.
    InvoiceChanged,
    /// The draft still takes in late usage.
    InvoiceInGraceWindow,
    /// The invoice is a draft: issue it first.
    InvoiceNotIssued,
    /// What an issued invoice says does not change any more.
    InvoiceFrozen,
    InvoiceAlreadyIssued,
    InvoicePaid,
    InvoiceVoid,
    /// It asks for nothing, and its subscription wants no such invoices.
    InvoiceSkipped,
    /// Only a void invoice is issued again.
    InvoiceNotVoid,
    InvoiceAlreadyReissued,
    /// An invoice with credit notes cannot be void.
    InvoiceCredited,
    /// A later invoice counts on it, so it cannot be void.
    InvoiceBuiltUpon,
    /// More than is left of what the invoice charges.
    CreditTooMuch,
    /// The Idempotency-Key was used for another request.
    IdempotencyKeyReused,
    /// The first request with this Idempotency-Key is still running.
    IdempotencyKeyInProgress,
    /// A Dedicated region takes one tenant.
    TenancyRefused,
    MeterMissing,
    /// A plan's price asks its meter for something that the meter does not have.
    MeterMisfit,
    /// The meter would no longer have what a plan's price asks of it.
    PlanMisfit,
    PlanMissing,
    TenantMissing,
    NameTaken,
    /// A store is away; try again.
    Unavailable,
    /// More requests than this replica takes at a time; try again.
    Overloaded,
    Timeout,
    Internal,
}

/// An error as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// `about:blank`: the code says what kind of problem it is.
    #[serde(rename = "type")]
    #[schema(example = "about:blank")]
    pub kind: String,
    #[schema(example = "Not Found")]
    pub title: String,
    #[schema(example = 404)]
    pub status: u16,
    pub code: Code,
    /// What to do, in a sentence.
    #[schema(example = "there is no such invoice")]
    pub detail: String,
    /// The field or parameter that is wrong, when one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl Problem {
    pub fn new(status: StatusCode, code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            code,
            detail: detail.into(),
            field: None,
        }
    }

    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, Code::NotFound, format!("there is no such {what}"))
    }

    pub fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::Invalid, detail).field(field)
    }

    pub fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Code::InvalidParameter, detail).field(name)
    }

    pub fn conflict(code: Code, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, detail)
    }

    pub fn unavailable(what: &str) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            Code::Unavailable,
            format!("{what} does not answer; try again shortly"),
        )
    }

    /// Something that should not happen: logged here with all its causes, told to the client without any.
    pub fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(error = %chain(error), "a request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            Code::Internal,
            "something went wrong here; the log has the reason",
        )
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        if error.is_transient() {
            tracing::warn!(error = %chain(&error), "Postgres did not answer");
            return Self::unavailable("the system of record");
        }
        Self::internal(&error)
    }
}

impl From<SchemaError> for Problem {
    fn from(error: SchemaError) -> Self {
        Self::internal(&error)
    }
}

impl From<UsageStoreError> for Problem {
    fn from(error: UsageStoreError) -> Self {
        match error {
            UsageStoreError::Away { .. } => {
                tracing::warn!(error = %chain(&error), "ClickHouse did not answer");
                Self::unavailable("the store of usage")
            }
            other => Self::internal(&other),
        }
    }
}

impl From<RatingError> for Problem {
    fn from(error: RatingError) -> Self {
        match error {
            RatingError::Records(error) => error.into(),
            RatingError::Terms(error) => error.into(),
            RatingError::Usage(PriceUsageError::Store(error)) => error.into(),
            RatingError::Usage(
                error @ (PriceUsageError::NoMeter { .. } | PriceUsageError::Unmeasurable { .. }),
            ) => Self::invalid("meter", format!("the usage cannot be told: {error}")),
            RatingError::Spec(_) | RatingError::Uncomputable(_) => Self::internal(&error),
        }
    }
}

impl From<CustomerError> for Problem {
    fn from(error: CustomerError) -> Self {
        let detail = error.to_string();
        match error {
            CustomerError::NotFound => Self::not_found("customer"),
            CustomerError::KeyTaken(_) => Self::conflict(Code::KeyTaken, detail).field("key"),
            CustomerError::ManagedByKubernetes => Self::conflict(Code::ManagedByKubernetes, detail),
            CustomerError::Subscribed => Self::conflict(Code::Subscribed, detail),
            CustomerError::Archived => Self::conflict(Code::Archived, detail),
            CustomerError::Store(error) => error.into(),
        }
    }
}

impl From<SubscriptionError> for Problem {
    fn from(error: SubscriptionError) -> Self {
        let detail = error.to_string();
        match error {
            SubscriptionError::NotFound => Self::not_found("subscription"),
            SubscriptionError::NoSuchCustomer => Self::not_found("customer").field("customer_id"),
            SubscriptionError::NoSuchPlan(_) => Self::invalid("plan", detail),
            SubscriptionError::NothingToBill => Self::conflict(Code::NothingToBill, detail),
            SubscriptionError::NoSuchPeriod(_) => Self::invalid("period_start", detail),
            SubscriptionError::Terms(error) => {
                Self::invalid(field_of_subscription(&error.field), error.detail)
            }
            SubscriptionError::Timeline(error) => Self::invalid("terms", error.to_string()),
            SubscriptionError::AlreadyBilled { .. } | SubscriptionError::ChangeInForce(_) => {
                Self::conflict(Code::AlreadyBilled, detail).field("at")
            }
            SubscriptionError::ChargedAhead { .. } => Self::conflict(Code::AlreadyBilled, detail).field("at"),
            SubscriptionError::NoSuchChange(_) => Self::not_found("change").field("at"),
            SubscriptionError::Unbillable(_) => Self::internal(&error),
            SubscriptionError::ManagedByKubernetes => Self::conflict(Code::ManagedByKubernetes, detail),
            SubscriptionError::EndsBeforeStart => Self::invalid("ends_at", detail),
            SubscriptionError::OutOfRange { field, at: _ } => Self::invalid(field, detail),
            SubscriptionError::Period(_) => Self::invalid("time_zone", detail),
            SubscriptionError::Store(error) => error.into(),
        }
    }
}

/// The request's field for what the engine names by its own.
fn field_of_subscription(field: &str) -> String {
    match field {
        "start" => "starts_at".to_owned(),
        "end" => "ends_at".to_owned(),
        "timeZone" => "time_zone".to_owned(),
        "planRef" | "planRef.name" => "plan".to_owned(),
        own => format!("terms.{own}"),
    }
}

impl From<InvoiceError> for Problem {
    fn from(error: InvoiceError) -> Self {
        match error {
            InvoiceError::NotFound => Self::not_found("invoice"),
            InvoiceError::NoSuchSubscription => Self::not_found("subscription"),
            InvoiceError::Refused(refusal) => refusal.into(),
            InvoiceError::Credited => Self::conflict(Code::InvoiceCredited, error.to_string()),
            InvoiceError::BuiltUpon | InvoiceError::LateUsageBilled | InvoiceError::ChargedAhead => {
                Self::conflict(Code::InvoiceBuiltUpon, error.to_string())
            }
            InvoiceError::Store(error) => error.into(),
            InvoiceError::OtherEngine { .. }
            | InvoiceError::LateUsageOutdated
            | InvoiceError::TermsOutdated => Self::conflict(Code::DraftOutdated, error.to_string()),
            InvoiceError::LinesDoNotAddUp { .. }
            | InvoiceError::Corrupt(_)
            | InvoiceError::Unproven(_)
            | InvoiceError::Credits(_) => Self::internal(&error),
        }
    }
}

/// Of a spec that is the whole body.
impl From<SpecError> for Problem {
    fn from(error: SpecError) -> Self {
        let SpecError { field, code: _, detail } = error;
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, Code::Invalid, detail);
        if field.is_empty() { problem } else { problem.field(field) }
    }
}

impl From<CouponError> for Problem {
    fn from(error: CouponError) -> Self {
        let detail = error.to_string();
        match error {
            CouponError::Spec(error) => error.into(),
            CouponError::InTerms(_) => Self::conflict(Code::NameTaken, detail).field("coupon"),
            CouponError::NameTaken(_) => Self::conflict(Code::NameTaken, detail).field("name"),
            CouponError::NoSuchCoupon(_) => Self::not_found("coupon"),
            CouponError::NoSuchSubscription => Self::not_found("subscription"),
            CouponError::Archived(_) => Self::conflict(Code::CouponArchived, detail),
            CouponError::Currency { .. } => Self::conflict(Code::CouponCurrency, detail),
            CouponError::NothingToBill => Self::conflict(Code::NothingToBill, detail),
            CouponError::Refused(RedemptionError::TooLate { .. }) => {
                Self::conflict(Code::CouponExpired, detail)
            }
            CouponError::Refused(RedemptionError::UsedUp { .. }) => {
                Self::conflict(Code::CouponUsedUp, detail)
            }
            CouponError::Store(error) => error.into(),
        }
    }
}

impl From<CreditError> for Problem {
    fn from(error: CreditError) -> Self {
        let detail = error.to_string();
        match error {
            CreditError::NoSuchCustomer => Self::not_found("customer"),
            CreditError::CustomerArchived => Self::conflict(Code::Archived, detail),
            CreditError::Spec(error) => error.into(),
            CreditError::NameTaken(_) => Self::conflict(Code::NameTaken, detail).field("name"),
            CreditError::Store(error) => error.into(),
            CreditError::Grant(_) | CreditError::Ledger(_) | CreditError::Invoice(_) | CreditError::Id(_) => {
                Self::internal(&error)
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let conflict = |code| Self::conflict(code, refusal.to_string());
        match refusal {
            Refusal::Stale { version: _, seen: _ } => conflict(Code::InvoiceChanged).field("version"),
            Refusal::InGraceWindow { grace_until: _ } => conflict(Code::InvoiceInGraceWindow),
            Refusal::NotIssued => conflict(Code::InvoiceNotIssued),
            Refusal::Frozen => conflict(Code::InvoiceFrozen),
            Refusal::AlreadyIssued => conflict(Code::InvoiceAlreadyIssued),
            Refusal::Paid => conflict(Code::InvoicePaid),
            Refusal::Void => conflict(Code::InvoiceVoid),
            Refusal::Skipped => conflict(Code::InvoiceSkipped),
            Refusal::NotVoid => conflict(Code::InvoiceNotVoid),
            Refusal::AlreadyReissued => conflict(Code::InvoiceAlreadyReissued),
            Refusal::Exhausted => Self::internal(&refusal),
        }
    }
}

impl From<CreditNoteError> for Problem {
    fn from(error: CreditNoteError) -> Self {
        let detail = error.to_string();
        match error {
            CreditNoteError::NotFound => Self::not_found("invoice"),
            CreditNoteError::Refused(refusal) => refusal.into(),
            CreditNoteError::NoSuchPrice { request, price: _ } => {
                Self::invalid(format!("lines[{request}].price"), detail)
            }
            CreditNoteError::SeveralPlans { request, price: _ } => {
                Self::invalid(format!("lines[{request}].plan"), detail)
            }
            CreditNoteError::Rule(rule) => rule.into(),
            CreditNoteError::Overflow(_) => Self::internal(&error),
            CreditNoteError::Store(error) => error.into(),
        }
    }
}

/// Lines are counted as the request has them.
impl From<credit_note::CreditNoteError> for Problem {
    fn from(error: credit_note::CreditNoteError) -> Self {
        use credit_note::CreditNoteError as Rule;
        let detail = error.to_string();
        match error {
            Rule::Empty => Self::invalid("lines", detail),
            Rule::DuplicateLine { line } => Self::invalid(format!("lines[{line}].price"), detail),
            Rule::NotPositive { line, amount: _ } | Rule::NotInMinorUnits { line, amount: _ } => {
                Self::invalid(format!("lines[{line}].amount"), detail)
            }
            Rule::TooMuch { line, amount: _, left: _ } => {
                Self::conflict(Code::CreditTooMuch, detail).field(format!("lines[{line}].amount"))
            }
            Rule::Overflow(_) => Self::invalid("lines", detail),
            Rule::UnknownLine { line: _ } | Rule::Currency { given: _, expected: _ } => {
                Self::internal(&error)
            }
        }
    }
}
