//! Names and keys as types, so that a tenant can never be passed where a meter is meant.
//!
//! Every name that is also the name of a Kubernetes object (tenant, project, meter, plan, price) is a DNS name of at most
//! 63 characters. Keys that customers choose (customer key, subscription id) are free text within bounds.
//! These types never look anything up; they only hold what was checked once.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is wrong with a name or key. The text is fit to be shown to the person who sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} {problem}")]
pub struct InvalidId {
    pub kind: &'static str,
    pub problem: &'static str,
}

/// Longest object name, in bytes.
pub const NAME_BYTES_MAX: usize = 63;
/// Longest free-text key (customer, event id, source, event type), in bytes: two of them and a tenant fit a DynamoDB sort key.
pub const KEY_BYTES_MAX: usize = 256;

fn check_name(kind: &'static str, text: &str) -> Result<(), InvalidId> {
    let fail = |problem| Err(InvalidId { kind, problem });
    let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if text.is_empty() {
        return fail("must not be empty");
    }
    if text.len() > NAME_BYTES_MAX {
        return fail("must not be longer than 63 characters");
    }
    if !text.chars().all(|c| alphanumeric(Some(c)) || c == '-' || c == '.') {
        return fail("may hold lower-case letters, digits, '-' and '.' only");
    }
    if !alphanumeric(text.chars().next()) || !alphanumeric(text.chars().last()) {
        return fail("must begin and end with a letter or digit");
    }
    Ok(())
}

/// A free-text key: 1 to 256 bytes, nothing that a log or a store could stumble over.
pub fn check_key(kind: &'static str, text: &str) -> Result<(), InvalidId> {
    if text.is_empty() {
        return Err(InvalidId { kind, problem: "must not be empty" });
    }
    check_key_or_empty(kind, text)
}

fn check_key_or_empty(kind: &'static str, text: &str) -> Result<(), InvalidId> {
    if text.len() > KEY_BYTES_MAX {
        return Err(InvalidId { kind, problem: "must not be longer than 256 bytes" });
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidId { kind, problem: "must not hold control characters" });
    }
    Ok(())
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            pub fn new(text: impl Into<String>) -> Result<Self, InvalidId> {
                let text = text.into();
                $check($kind, &text)?;
                Ok(Self(text))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            pub fn into_string(self) -> String {
                self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id!(
    /// An organisation on the platform, and the isolation boundary (ruling C11).
    TenantId, "tenant", check_name
);
text_id!(
    /// A part of a tenant with API keys of its own.
    ProjectId, "project", check_name
);
text_id!(
    /// A meter of the region's catalogue or of one tenant's.
    MeterName, "meter name", check_name
);
text_id!(
    /// A plan of the region's catalogue or of one tenant's.
    PlanName, "plan name", check_name
);
text_id!(
    /// A price within its plan.
    PriceName, "price name", check_name
);
text_id!(
    /// A coupon of a tenant.
    CouponName, "coupon name", check_name
);
text_id!(
    /// A tax rate of a tenant.
    TaxRateName, "tax rate name", check_name
);
text_id!(
    /// A credit grant of a customer; each recurrence of it is told apart by its time (ledger/).
    GrantName, "grant name", check_name
);
text_id!(
    /// A subscription's id, `sub_…`.
    SubscriptionId, "subscription id", check_key
);
text_id!(
    /// An invoice's id, `inv_…`.
    InvoiceId, "invoice id", check_key
);
text_id!(
    /// The tenant's own key for one of its customers; empty means the tenant itself (ruling C11).
    CustomerKey, "customer", check_key_or_empty
);

impl CustomerKey {
    /// Usage that names no customer belongs to the tenant itself.
    pub fn tenant_itself() -> Self {
        Self(String::new())
    }

    pub fn is_tenant_itself(&self) -> bool {
        self.0.is_empty()
    }
}

impl ProjectId {
    /// The project that every tenant has.
    pub fn default_project() -> Self {
        Self("default".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_names() {
        for good in ["acme", "a", "api-calls", "eu.acme-2", &"a".repeat(63)] {
            assert!(TenantId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "Acme", "a#b", "a b", "a\0b", "ä", ".a", &"a".repeat(64)] {
            assert!(TenantId::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn keys_are_bounded_text_without_control_characters() {
        assert!(SubscriptionId::new("sub_1").is_ok());
        assert!(SubscriptionId::new("").is_err());
        assert!(CustomerKey::new("").expect("empty is the tenant itself").is_tenant_itself());
        assert!(CustomerKey::new("Größe #7").is_ok());
        assert!(CustomerKey::new("a\u{0}b").is_err());
        assert!(CustomerKey::new("a\nb").is_err());
        assert!(CustomerKey::new("é".repeat(128)).is_ok());
        assert!(CustomerKey::new("é".repeat(129)).is_err());
    }

    #[test]
    fn a_name_from_json_is_checked_too() {
        assert!(serde_json::from_str::<TenantId>("\"acme\"").is_ok());
        assert!(serde_json::from_str::<TenantId>("\"ACME\"").is_err());
    }
}
