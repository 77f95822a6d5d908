//! What a transaction hands in, as the bytes of one column: a line of JSON, and after it the body of the request, or
//! those of the reports.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::record::{NewReport, NewRequest};
use crate::sql::codec::{
    headers_from_bytes, headers_to_bytes, own_from_columns, own_to_columns, registration_from_text,
    registration_to_text,
};
use crate::terms::{Extras, Terms};
use postback_wire::id::{ReportId, RequestId};
use postback_wire::time::Timestamp;
use postback_wire::webhook::Target;

/// The version of this form. A change that raises it must also add a step to the schemas. Then earlier programs do not open
/// the store, and never read the new form.
const VERSION: u32 = 1;

/// A request or reports that a transaction hands in.
#[derive(Clone, PartialEq, Eq)]
pub struct HandIn {
    /// The id of the request. For reports, the id of the first of their deliveries.
    pub id: String,
    pub content: Vec<u8>,
}

/// Prints the id only. The content may have secrets.
impl std::fmt::Debug for HandIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("HandIn").field(&self.id).finish()
    }
}

/// What a row of the table `handed_in` is.
#[derive(Debug)]
pub(super) enum HandedIn {
    Request(Box<NewRequest>),
    Reports(Vec<NewReport>),
}

#[derive(Serialize, Deserialize)]
struct Head {
    version: u32,
    what: What,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum What {
    Request(Box<RequestHead>),
    Reports(Vec<ReportHead>),
}

#[derive(Serialize, Deserialize)]
struct RequestHead {
    route: String,
    /// The headers, encoded in Base64, because a header value need not be UTF-8.
    headers: String,
    created: i64,
    registration: Option<String>,
    owner: String,
    priority: i8,
    run_at: Option<i64>,
    deadline: Option<i64>,
    timeout: Option<u64>,
    extras: Option<Extras>,
}

#[derive(Serialize, Deserialize)]
struct ReportHead {
    id: String,
    subject: String,
    url: String,
    /// The headers, encoded in Base64, because a header value need not be UTF-8.
    headers: String,
    secret: Option<String>,
    by_operator: bool,
    created: i64,
    /// The number of bytes of the body.
    bytes: usize,
}

/// The reason why a content cannot be made or read.
type Trouble = Box<dyn std::error::Error + Send + Sync>;

impl HandIn {
    /// Makes what hands in this request.
    ///
    /// The request has no idempotency key: with a key, an earlier request would take its place, after the transaction has
    /// kept its id.
    pub fn request(request: &NewRequest) -> Result<Self, Trouble> {
        let Terms { priority, run_at, deadline, timeout } = request.terms;
        let head = RequestHead {
            route: request.route.clone(),
            headers: STANDARD.encode(headers_to_bytes(&request.headers)),
            created: request.created.micros(),
            registration: request.registration.as_deref().map(registration_to_text).transpose()?,
            owner: request.owner.to_string(),
            priority,
            run_at: run_at.map(Timestamp::micros),
            deadline: deadline.map(Timestamp::micros),
            timeout: timeout.map(|timeout| u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX)),
            extras: request.extras.as_deref().cloned(),
        };
        Self::of(request.id.to_string(), What::Request(Box::new(head)), [&request.body])
    }

    /// Makes what hands in these reports. `None`: there are none.
    pub fn reports(reports: &[NewReport]) -> Result<Option<Self>, Trouble> {
        let Some(first) = reports.first() else { return Ok(None) };
        let heads = reports.iter().map(|report| {
            let (headers, secret, by_operator) =
                report.to.webhook().map(|webhook| own_to_columns(webhook.own())).unwrap_or_default();
            ReportHead {
                id: report.id.to_string(),
                subject: report.subject.to_string(),
                url: report.to.url().to_owned(),
                headers: STANDARD.encode(headers),
                secret,
                by_operator,
                created: report.created.micros(),
                bytes: report.body.len(),
            }
        });
        let bodies = reports.iter().map(|report| &report.body);
        Self::of(first.id.to_string(), What::Reports(heads.collect()), bodies).map(Some)
    }

    fn of<'a>(id: String, what: What, bodies: impl IntoIterator<Item = &'a Bytes>) -> Result<Self, Trouble> {
        let mut content = serde_json::to_vec(&Head { version: VERSION, what })?;
        content.push(b'\n');
        bodies.into_iter().for_each(|body| content.extend_from_slice(body));
        Ok(Self { id, content })
    }
}

impl HandedIn {
    /// Reads a row of the table `handed_in`. An error says what is wrong with it.
    pub(super) fn read(id: &str, content: &Bytes) -> Result<Self, String> {
        Self::read_any(id, content).map_err(|trouble| trouble.to_string())
    }

    fn read_any(id: &str, content: &Bytes) -> Result<Self, Trouble> {
        let end = content.iter().position(|byte| *byte == b'\n').ok_or("the content has no first line")?;
        let Head { version, what } = serde_json::from_slice(content.get(..end).unwrap_or_default())?;
        if version != VERSION {
            return Err(format!("the content has version {version}, and this program knows version {VERSION}").into());
        }
        let body = content.slice(end + 1..);
        match what {
            What::Request(head) => Ok(Self::Request(Box::new(request(id, *head, body)?))),
            What::Reports(heads) => reports(id, heads, body).map(Self::Reports),
        }
    }
}

fn request(id: &str, head: RequestHead, body: Bytes) -> Result<NewRequest, Trouble> {
    let registration =
        head.registration.map(|text| registration_from_text(&text).ok_or("the registration is unreadable"));
    let terms = Terms {
        priority: head.priority,
        run_at: head.run_at.map(Timestamp::from_micros),
        deadline: head.deadline.map(Timestamp::from_micros),
        timeout: head.timeout.map(Duration::from_micros),
    };
    let new = NewRequest::new(id.parse::<RequestId>()?, head.route, body, Timestamp::from_micros(head.created));
    Ok(NewRequest {
        // If the row is taken again, or written twice, the same request is known by its id.
        chosen_id: true,
        headers: headers_from_bytes(&STANDARD.decode(head.headers)?),
        registration: registration.transpose()?.map(Arc::new),
        owner: head.owner.into(),
        terms,
        extras: head.extras.and_then(Extras::shared),
        ..new
    })
}

fn reports(id: &str, heads: Vec<ReportHead>, mut bodies: Bytes) -> Result<Vec<NewReport>, Trouble> {
    let mut reports = Vec::with_capacity(heads.len());
    for head in heads {
        if head.bytes > bodies.len() {
            return Err("the content ends within the body of a report".into());
        }
        let own = own_from_columns(&STANDARD.decode(head.headers)?, head.secret.as_deref(), head.by_operator);
        let to = Target::stored(&head.url, own);
        if let Err(error) = to.webhook() {
            return Err(format!("a URL cannot be used: {error}").into());
        }
        let report =
            NewReport::to(to, &head.subject, bodies.split_to(head.bytes), Timestamp::from_micros(head.created));
        reports.push(NewReport { id: head.id.parse::<ReportId>()?, ..report });
    }
    if !bodies.is_empty() {
        return Err("the content goes on after the last report".into());
    }
    // The commit that writes the reports deletes the row with the id of the first of them.
    match reports.first() {
        Some(first) if first.id.to_string() == id => Ok(reports),
        _ => Err("the id of the row is not that of its first report".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Registration;
    use http::{HeaderMap, HeaderValue};
    use postback_wire::webhook::{Provenance, Webhook};

    fn webhook(by: Provenance) -> Webhook {
        let webhook = Webhook::new("https://example.com/hooks?token=1").unwrap();
        let webhook = webhook.header("authorization", "Bearer ü").unwrap();
        webhook.secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().unwrap()).chosen_by(Some(by))
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn a_request_is_read_as_it_was_handed_in() {
        let id = RequestId::generate();
        let headers = HeaderMap::from_iter([("x-a".parse().unwrap(), HeaderValue::from_bytes(b"\xff \t").unwrap())]);
        let webhooks = vec![webhook(Provenance::Operator), webhook(Provenance::Caller)];
        let request = NewRequest {
            headers: headers.clone(),
            registration: Some(Arc::new(Registration { webhooks, tells_reason: true, ..Registration::default() })),
            owner: "o".into(),
            terms: Terms {
                priority: -3,
                run_at: Some(at(5)),
                deadline: Some(at(6)),
                timeout: Some(Duration::from_secs(7)),
            },
            extras: Extras { metadata: Some("{}".into()), ..Extras::default() }.shared(),
            ..NewRequest::new(id.clone(), "/a", &b"\n\0\xff"[..], at(4))
        };
        let HandIn { id: handed_in, content } = HandIn::request(&request).unwrap();
        assert_eq!(handed_in, id.as_str());
        let HandedIn::Request(read) = HandedIn::read(&handed_in, &content.into()).unwrap() else { panic!("a request") };
        assert_eq!((&read.id, &read.route, &read.headers, &read.body), (&id, &request.route, &headers, &request.body));
        assert_eq!((read.registration, &*read.owner), (request.registration, "o"));
        assert_eq!((read.terms, read.extras, read.created), (request.terms, request.extras, at(4)));
    }

    #[test]
    fn reports_are_read_as_they_were_handed_in() {
        let new = |by, body: &'static str| NewReport::to(webhook(by), "s", body.into(), at(1));
        let reports = [new(Provenance::Operator, "{}\n"), new(Provenance::Caller, "[1]")];
        let HandIn { id, content } = HandIn::reports(&reports).unwrap().unwrap();
        assert_eq!(id, reports[0].id.to_string());
        let HandedIn::Reports(read) = HandedIn::read(&id, &content.into()).unwrap() else { panic!("reports") };
        assert_eq!(read.len(), 2);
        for (read, report) in read.iter().zip(&reports) {
            assert_eq!((read.id, &read.subject, &read.body), (report.id, &report.subject, &report.body));
            assert_eq!(read.to.webhook().unwrap(), report.to.webhook().unwrap());
        }
        assert_eq!(HandIn::reports(&[]).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let report = NewReport::to(webhook(Provenance::Operator), "s", "{}".into(), at(1));
        let HandIn { id, content } = HandIn::reports(&[report]).unwrap().unwrap();
        let text = String::from_utf8(content).unwrap();
        let wrong = |id: &str, text: String| HandedIn::read(id, &text.into()).unwrap_err();
        assert!(wrong(&id, "{}".to_owned()).contains("no first line"));
        assert!(wrong(&id, "{}\n".to_owned()).contains("missing field"));
        assert!(wrong(&id, text.replace("\"version\":1", "\"version\":2")).contains("version 2"));
        assert!(wrong(&id, text[..text.len() - 1].to_owned()).contains("ends within"));
        assert!(wrong(&id, format!("{text}x")).contains("goes on"));
        assert!(wrong(&ReportId::generate().to_string(), text.clone()).contains("first report"));
        assert!(wrong(&id, text.replace("https://", "htp://")).contains("cannot be used"));
        assert!(wrong(&id, "{\"version\":1,\"what\":{\"reports\":[]}}\n".to_owned()).contains("first report"));
    }
}
