//! Checks, when a request comes, the webhooks that its caller asks for.
//!
//! Only the text of a URL is checked. No name is looked up, so that no answer tells a caller whether a name leads to a
//! private network.

use super::problem::{Code, Problem};
use crate::access::Caller;
use crate::handler::{Asked, Route};
use crate::policy::guard::{Guard, Reach};
use postback_store::Registration;
use postback_wire::line::Causes;
use postback_wire::webhook::Target;

/// The longest expression of the handler's attribute, in bytes, that an error answer shows to the caller. A longer
/// expression would not help the caller.
const MAX_SHOWN: usize = 60;
/// What is wrong with the webhook of a caller whose token names other hosts.
pub(super) const OTHER_HOST: &str = "its host is not one of the hosts that the token may report to";

/// Returns the webhooks that are stored with the request. Returns an error answer if one of the webhooks is wrong. A
/// wrong URL that the operator has chosen causes no error answer, because the caller cannot correct the URL.
pub(super) fn check(
    asked: &Asked,
    route: &Route,
    caller: &Caller,
    guard: &Guard,
) -> Result<Option<Registration>, Problem> {
    if !asked.is_operator {
        let faults = asked.registered.webhooks.iter().map(|target| fault(target, caller, guard));
        if let Some((at, fault)) = faults.enumerate().find_map(|(at, fault)| Some((at, fault?))) {
            return Err(Problem::new(Code::InvalidWebhook, detail(asked, route, at, &fault)));
        }
    }
    Ok(asked.is_requests.then(|| asked.registered.stored()))
}

fn fault(target: &Target, caller: &Caller, guard: &Guard) -> Option<String> {
    match target.webhook() {
        Err(why) => Some(Causes(why).to_string()),
        Ok(webhook) if webhook.is_operator() => None,
        Ok(webhook) if !caller.may_report_to(webhook.url()) => Some(OTHER_HOST.to_owned()),
        // The error answer does not tell the caller which network contains the address, or which setting forbids the
        // address.
        Ok(webhook) => guard
            .check_url(webhook.url(), Reach::Public)
            .is_err()
            .then(|| "the host of the webhook URL is an address that the webhook of a caller may not reach".to_owned()),
    }
}

fn detail(asked: &Asked, route: &Route, at: usize, fault: &str) -> String {
    let many = asked.registered.webhooks.len() > 1;
    let which = if many {
        format!("webhook {} that this request asks for", at + 1)
    } else {
        "the webhook that this request asks for".to_owned()
    };
    // The error answer does not show an expression that contains a URL, because this URL is a part of the program and
    // may be secret.
    let expression = route.attribute.map(|attribute| attribute.webhook);
    let expression = expression.filter(|text| text.len() <= MAX_SHOWN && !text.contains("://"));
    let from = expression.map(|text| format!(" ({text})")).unwrap_or_default();
    format!("{which}{from} cannot be used: {fault}; nothing was accepted")
}
