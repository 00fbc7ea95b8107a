//! Bodies, query strings and cursors, whose mistakes are problems like any other.

use axum::{
    extract::{FromRequest, FromRequestParts, Query, Request, rejection::JsonRejection},
    http::{StatusCode, request::Parts},
};
use meridian_records::Page;
use serde::{Deserialize, de::DeserializeOwned};
use utoipa::IntoParams;

use crate::problem::{Code, Problem};

/// A JSON body. A mistake is answered with its path in the body.
pub(crate) struct Body<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match axum::Json::<T>::from_request(request, state).await {
            Ok(axum::Json(body)) => Ok(Self(body)),
            Err(rejection) => Err(body_problem(rejection)),
        }
    }
}

fn body_problem(rejection: JsonRejection) -> Problem {
    let detail = rejection.body_text();
    match rejection {
        JsonRejection::MissingJsonContentType(_) => Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Code::UnsupportedMediaType,
            "send the body as Content-Type: application/json",
        ),
        JsonRejection::JsonDataError(_) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, Code::MalformedBody, detail)
        }
        other if other.status() == StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => Problem::new(StatusCode::BAD_REQUEST, Code::MalformedBody, detail),
    }
}

pub(crate) fn too_large() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        Code::BodyTooLarge,
        "the body is larger than this endpoint takes",
    )
}

/// A query string.
pub(crate) struct Parameters<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(parameters)) => Ok(Self(parameters)),
            Err(rejection) => {
                Err(Problem::new(StatusCode::BAD_REQUEST, Code::InvalidParameter, rejection.body_text()))
            }
        }
    }
}

/// Which page of a list.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Paging {
    /// How many at most.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before; leave it out for the first page.
    pub cursor: Option<String>,
}

pub(crate) const LIMIT_DEFAULT: u32 = 50;
pub(crate) const LIMIT_MAX: u32 = 1000;
/// Longest cursor that any list gives out.
const CURSOR_BYTES_MAX: usize = 512;

impl Paging {
    pub fn limit(&self) -> Result<u32, Problem> {
        match self.limit {
            None => Ok(LIMIT_DEFAULT),
            Some(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
            Some(_) => Err(Problem::parameter("limit", format!("must be 1 to {LIMIT_MAX}"))),
        }
    }

    pub fn page(&self) -> Result<Page, Problem> {
        if self.cursor.as_ref().is_some_and(|cursor| cursor.len() > CURSOR_BYTES_MAX || cursor.contains('\0'))
        {
            return Err(Problem::parameter("cursor", "is not a cursor of this list"));
        }
        Ok(Page { after: self.cursor.clone(), limit: self.limit()? })
    }

    /// A cursor with a shape of its own.
    pub fn cursor<T: std::str::FromStr>(&self) -> Result<Option<T>, Problem> {
        let parse = |text: &String| {
            text.parse().map_err(|_| Problem::parameter("cursor", "is not a cursor of this list"))
        };
        self.cursor.as_ref().map(parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paging(limit: Option<u32>, cursor: Option<&str>) -> Paging {
        Paging { limit, cursor: cursor.map(str::to_owned) }
    }

    #[test]
    fn limits_are_bounded() {
        assert_eq!(paging(None, None).limit(), Ok(50));
        assert_eq!(paging(Some(1000), None).limit(), Ok(1000));
        for wrong in [0, 1001, u32::MAX] {
            assert_eq!(
                paging(Some(wrong), None).limit().expect_err("refused").field.as_deref(),
                Some("limit")
            );
        }
    }

    #[test]
    fn a_cursor_that_no_list_gave_out_is_refused() {
        assert!(paging(None, Some(&"x".repeat(513))).page().is_err());
        assert!(paging(None, Some("a\0b")).page().is_err());
        assert!(paging(None, Some("nonsense")).cursor::<u64>().is_err());
    }
}
