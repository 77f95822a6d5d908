//! Judges, when a request comes, where its caller wants to be told.
//!
//! Only what the text of a URL shows: no name is looked up, so that no answer tells whether a name leads to a private network.

use http::StatusCode;

use super::problem::Problem;
use crate::handler::{Asked, Route};
use crate::line::Causes;
use crate::policy::guard::{Guard, Reach};
use crate::store::Registration;
use crate::webhook::Target;

/// Longer expressions are no help to a caller.
const MOST_SHOWN: usize = 60;

/// What is to be kept with the request. A URL of the operator's that is wrong is no fault of the caller's.
pub(super) fn judge(asked: &Asked, route: &Route, guard: &Guard) -> Result<Option<Registration>, Problem> {
    if !asked.is_operators {
        let faults = asked.registered.webhooks.iter().map(|target| fault(target, guard));
        if let Some((at, fault)) = faults.enumerate().find_map(|(at, fault)| Some((at, fault?))) {
            return Err(Problem::new(StatusCode::BAD_REQUEST, said(asked, route, at, &fault)));
        }
    }
    Ok(asked.is_requests.then(|| asked.registered.stored()))
}

fn fault(target: &Target, guard: &Guard) -> Option<String> {
    match target.webhook() {
        Err(why) => Some(Causes(why).to_string()),
        Ok(webhook) if webhook.is_operators() => None,
        // Which network it is, and which setting closes it, is not for callers.
        Ok(webhook) => guard
            .check_url(webhook.url(), Reach::Public)
            .is_err()
            .then(|| "the host of the webhook URL is an address that no webhook of a caller may go to".to_owned()),
    }
}

fn said(asked: &Asked, route: &Route, at: usize, fault: &str) -> String {
    let many = asked.registered.webhooks.len() > 1;
    let which = if many {
        format!("webhook {} that this request asks for", at + 1)
    } else {
        "the webhook that this request asks for".to_owned()
    };
    // A URL in it is the program's own, and may be secret.
    let expression = route.attribute.map(|attribute| attribute.webhook);
    let expression = expression.filter(|text| text.len() <= MOST_SHOWN && !text.contains("://"));
    let from = expression.map(|text| format!(" ({text})")).unwrap_or_default();
    format!("{which}{from} cannot be used: {fault}; nothing was accepted")
}
