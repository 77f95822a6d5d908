//! The message of an attempt: its request line and its headers.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, USER_AGENT};
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use http_body_util::Full;

use postback_wire::id::{ReportId, RequestId};
use postback_wire::names;
use postback_wire::report::Format;
use postback_wire::trace::{TRACEPARENT, TraceParent};
use postback_wire::webhook::Webhook;

const ID: HeaderName = HeaderName::from_static(names::header::WEBHOOK_ID);
const TRACE: HeaderName = HeaderName::from_static(TRACEPARENT);
const TIMESTAMP: HeaderName = HeaderName::from_static(names::header::WEBHOOK_TIMESTAMP);
const SIGNATURE: HeaderName = HeaderName::from_static(names::header::WEBHOOK_SIGNATURE);

const FORMAT: &str = names::header::WEBHOOK_FORMAT;
/// The headers of fal, in the order of their values.
const FAL: [HeaderName; 4] = [
    HeaderName::from_static(names::header::FAL_REQUEST_ID),
    HeaderName::from_static(names::header::FAL_USER_ID),
    HeaderName::from_static(names::header::FAL_TIMESTAMP),
    HeaderName::from_static(names::header::FAL_SIGNATURE),
];
/// The user who has made a request, as reports in the form of fal say.
pub(super) const FAL_USER: &str = "postback";

/// The signatures of an attempt.
#[derive(Debug, Default)]
pub(super) struct Signed {
    pub(super) standard: Option<String>,
    /// That of fal, if the report has its form.
    pub(super) as_fal: Option<String>,
}

/// What an attempt sends.
pub(in crate::delivery) struct Message<'a> {
    pub(in crate::delivery) id: ReportId,
    /// The id that the report is about. It gives the trace of a report whose caller has begun no trace.
    pub(in crate::delivery) subject: &'a str,
    pub(in crate::delivery) body: Bytes,
    /// The span of the attempt, if it is part of a trace that is exported. The receiver continues below it.
    pub(in crate::delivery) span: Option<TraceParent>,
}

impl Message<'_> {
    /// Returns the start of the report's trace. All attempts of a report, and all reports of a request, share a trace.
    pub(super) fn trace(&self) -> TraceParent {
        TraceParent::fresh(RequestId::as_trace(self.subject), self.id.as_span())
    }
}

/// The HTTP request of one attempt.
pub(super) struct Outgoing<'a> {
    pub(super) id: ReportId,
    /// The trace that the header names if neither `span` nor the webhook has one.
    pub(super) trace: TraceParent,
    pub(super) span: Option<TraceParent>,
    pub(super) webhook: &'a Webhook,
    pub(super) format: Format,
    pub(super) timestamp: i64,
    pub(super) signed: Signed,
    /// The id that the report is about.
    pub(super) subject: &'a str,
    pub(super) body: Bytes,
}

impl Outgoing<'_> {
    pub(super) fn request(&self) -> Result<Request<Full<Bytes>>, http::uri::InvalidUri> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = Method::POST;
        // The URI is made from the parsed URL, so that the request goes to exactly the URL that was checked.
        *request.uri_mut() = Uri::try_from(self.webhook.url().as_str())?;
        *request.headers_mut() = self.headers();
        Ok(request)
    }

    /// All headers of the request. The delivery's own headers are inserted last, so that no stored header can replace
    /// them.
    fn headers(&self) -> HeaderMap {
        let stored = &self.webhook.own().headers;
        // The capacity is enough for the seven headers below and for two headers that the HTTP client adds.
        let mut headers = HeaderMap::with_capacity(stored.len() + 9);
        headers.extend(stored.clone());
        headers.remove(FORMAT);
        let trace = self.span.or_else(|| (!headers.contains_key(TRACEPARENT)).then_some(self.trace));
        if let Some(trace) = trace.and_then(|trace| HeaderValue::try_from(trace.to_string()).ok()) {
            headers.insert(TRACE, trace);
        }
        let (id, timestamp) = (self.id.to_string(), self.timestamp.to_string());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.format.content_type()));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(USER_AGENT, HeaderValue::from_static(names::USER_AGENT));
        let signature = self.signed.standard.as_deref();
        for (name, value) in [(ID, Some(&*id)), (TIMESTAMP, Some(&*timestamp)), (SIGNATURE, signature)] {
            // Invariant: the conversion to a header value does not fail, because a UUID, a number and base64 text are
            // valid header values.
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name, value);
            }
        }
        if let Some(signature) = &self.signed.as_fal {
            let values = [self.subject, FAL_USER, &timestamp, signature];
            for (name, value) in FAL.into_iter().zip(values) {
                // The id of a report of a library may be any text.
                headers.extend(HeaderValue::try_from(value).ok().map(|value| (name, value)));
            }
        }
        headers
    }
}
