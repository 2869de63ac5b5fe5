//! `/api/v1/replies`: participants complete pending commands by reply tokens.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::body::Payload;
use super::state::App;
use super::trace;
use crate::parts::ReplyRejection;
use crate::problem::{Code, Problem};

const OUTCOME: HeaderName = HeaderName::from_static("sagamore-outcome");
/// The seconds after which a participant may repeat a reply that was not published.
const RETRY_AFTER_S: u32 = 1;

/// The response to a published reply.
#[derive(Serialize)]
struct ReplyReceipt {
    command: String,
}

/// Publishes the reply that the token permits.
pub async fn publish(State(app): State<Arc<App>>, request: Request) -> Response {
    match reply(&app, request).await {
        Ok(command) => (StatusCode::ACCEPTED, Json(ReplyReceipt { command })).into_response(),
        Err(problem) => {
            let mut response = problem.into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                let scheme = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
            }
            response
        }
    }
}

async fn reply(app: &App, request: Request) -> Result<String, Problem> {
    let headers = request.headers().clone();
    let token = token(&headers)?;
    let port = app.replies.as_ref().ok_or_else(|| {
        unauthorized("this server has no keys of tokens: set gateway.reply_secrets".into())
    })?;
    let name = one(&headers, &OUTCOME).ok_or_else(|| {
        let why = "Sagamore-Outcome: send this header once, with done, refused or fault";
        Problem::new(Code::BadParameter, why)
    })?;
    let Payload(body) = Payload::from_request(request, &()).await?;
    let published = port.publish(token, name, &body, trace::of(&headers)).await;
    published.map_err(|rejection| match rejection {
        ReplyRejection::Token(why) => unauthorized(why),
        ReplyRejection::Outcome(why) => Problem::new(Code::BodyDoesNotFit, why),
        ReplyRejection::Unavailable(why) => {
            Problem::new(Code::Unavailable, why).retry_after(RETRY_AFTER_S)
        }
    })
}

/// Returns the token of `Authorization: Bearer TOKEN`.
fn token(headers: &HeaderMap) -> Result<&str, Problem> {
    let value = one(headers, &header::AUTHORIZATION);
    let token = value.and_then(|value| value.split_once(' '));
    let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    token.map(|(_, token)| token.trim()).ok_or_else(|| {
        let why = "send Authorization: Bearer TOKEN, with the value of Sagamore-Reply-Token";
        unauthorized(why.into())
    })
}

fn unauthorized(why: String) -> Problem {
    Problem::new(Code::BadReplyToken, why)
}

/// Returns the value of a header that occurs once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}
