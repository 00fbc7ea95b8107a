//! Ids of what this crate stores: a prefix that says the kind, then a UUIDv7 in 26 characters of Crockford's base 32.
//! They sort by the time of their making, which is also the order of every list.

use uuid::Uuid;

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Prefixes of ids. One per kind of entity; users see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    ApiKey,
    Customer,
    Meter,
    Plan,
    Subscription,
    Invoice,
    Line,
    CreditNote,
    Coupon,
    Grant,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::ApiKey => "key",
            Self::Customer => "cus",
            Self::Meter => "mtr",
            Self::Plan => "plan",
            Self::Subscription => "sub",
            Self::Invoice => "inv",
            Self::Line => "line",
            Self::CreditNote => "cn",
            Self::Coupon => "coupon",
            Self::Grant => "grant",
        }
    }
}

pub(crate) fn new(kind: Kind) -> String {
    from_seed(kind, Uuid::now_v7())
}

/// The id that a given seed leads to: a request that is tried again makes the same entity, not a second one.
pub(crate) fn from_seed(kind: Kind, seed: Uuid) -> String {
    let mut rest = seed.as_u128();
    let mut digits = [0_u8; 26];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
    }
    format!("{}_{}", kind.prefix(), digits.iter().map(|&digit| char::from(digit)).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_the_time_of_their_making() {
        let ids: Vec<String> = (0..1000).map(|_| new(Kind::Invoice)).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn one_seed_leads_to_one_id_of_each_kind() {
        let seed = Uuid::from_u128(u128::MAX);
        assert_eq!(from_seed(Kind::Customer, seed), "cus_7zzzzzzzzzzzzzzzzzzzzzzzzz");
        assert_eq!(from_seed(Kind::Subscription, Uuid::nil()), "sub_00000000000000000000000000");
    }
}
