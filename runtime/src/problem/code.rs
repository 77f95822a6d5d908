//! The table of the API's errors: one line for each, with its code, its HTTP status and its title.
//!
//! To add an error, add a line here and a section with the same code to the guide `problems`. A test compares them.

use http::StatusCode;

/// Where the guide `problems` is published. The member `type` of a problem is a link to the section of its code.
const GUIDE: &str = "https://docs.rs/postback/latest/postback/guide/problems/index.html";

macro_rules! codes {
    ($($variant:ident $status:ident $text:literal $title:literal;)*) => {
        /// What kind of error an answer is. Client programs decide by its text, which never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// All codes, in the order of their statuses.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Returns the text of the code, which client programs compare.
            pub(crate) const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Returns the HTTP status of every answer with this code.
            pub(crate) const fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// Returns a short description of the error, for people. It is the same for each answer with this code.
            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }
        }
    };
}

codes! {
    MalformedRequest BAD_REQUEST "malformed_request" "The HTTP request is not well-formed";
    MalformedPayload BAD_REQUEST "malformed_payload" "The body is not valid JSON";
    InvalidParameter BAD_REQUEST "invalid_parameter" "A query parameter has a wrong value";
    InvalidHeader BAD_REQUEST "invalid_header" "A header has a wrong value";
    InvalidWebhook BAD_REQUEST "invalid_webhook" "The webhook that the request asks for cannot be used";
    MalformedContentEncoding BAD_REQUEST "malformed_content_encoding" "The body is not compressed as it says";
    Unauthorized UNAUTHORIZED "unauthorized" "There is no valid token";
    Forbidden FORBIDDEN "forbidden" "The token does not allow this call";
    NotFound NOT_FOUND "not_found" "There is nothing at this path, or no request with this id";
    NoResult NOT_FOUND "no_result" "The request ended without a result";
    MethodNotAllowed METHOD_NOT_ALLOWED "method_not_allowed" "The path does not serve this method";
    BodyTooSlow REQUEST_TIMEOUT "body_too_slow" "The body came too slowly";
    NotFinished CONFLICT "not_finished" "The request is not over yet";
    RequestOver CONFLICT "request_over" "The request is over already";
    RequestInProgress CONFLICT "request_in_progress" "A request with this idempotency key is being accepted";
    IdTaken CONFLICT "id_taken" "The id belongs to a request with another body or query";
    Conflict CONFLICT "conflict" "The state of the row does not allow the change";
    PreconditionFailed PRECONDITION_FAILED "precondition_failed" "The result is not the one that the client wants";
    PayloadTooLarge PAYLOAD_TOO_LARGE "payload_too_large" "The body is too large";
    UriTooLong URI_TOO_LONG "uri_too_long" "The request target is too long";
    UnsupportedMediaType UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" "The route does not take this content type";
    UnsupportedContentEncoding UNSUPPORTED_MEDIA_TYPE "unsupported_content_encoding"
        "The route does not take this content encoding";
    RangeNotSatisfiable RANGE_NOT_SATISFIABLE "range_not_satisfiable" "The result does not have these bytes";
    MisdirectedHost MISDIRECTED_REQUEST "misdirected_host" "The server does not answer for this host";
    InvalidPayload UNPROCESSABLE_ENTITY "invalid_payload" "The body does not fit the route";
    IdempotencyKeyReused UNPROCESSABLE_ENTITY "idempotency_key_reused" "The idempotency key belongs to another body or query";
    InvalidSettings UNPROCESSABLE_ENTITY "invalid_settings" "The settings have a mistake, and nothing has changed";
    RateLimited TOO_MANY_REQUESTS "rate_limited" "Too many calls came in a short time";
    QuotaExceeded TOO_MANY_REQUESTS "quota_exceeded" "Too many requests of the token wait";
    InternalError INTERNAL_SERVER_ERROR "internal_error" "The server has an internal error";
    NotImplemented NOT_IMPLEMENTED "not_implemented" "The server does not implement this part of HTTP";
    Draining SERVICE_UNAVAILABLE "draining" "The server stops soon and accepts no new requests";
    QueueFull SERVICE_UNAVAILABLE "queue_full" "Too many requests wait";
    StoreFull SERVICE_UNAVAILABLE "store_full" "The disk of the store is nearly full";
    StoreUnavailable SERVICE_UNAVAILABLE "store_unavailable" "The store does not work at the moment";
    AcceptanceUnknown SERVICE_UNAVAILABLE "acceptance_unknown" "It is not known whether the request was accepted";
    TooManyEventStreams SERVICE_UNAVAILABLE "too_many_event_streams" "Too many event streams are open";
    Overloaded SERVICE_UNAVAILABLE "overloaded" "The server has too much to do at the moment";
}

impl Code {
    /// Returns the URL of the page that describes this error. It is the member `type` of a problem document.
    pub(crate) fn url(self) -> String {
        format!("{GUIDE}#{}", self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sections of the guide: the code, and the status that the line below the heading begins with.
    fn sections() -> Vec<(&'static str, &'static str)> {
        let guide = include_str!("../../docs/guide/problems.md");
        let sections = guide.split("\n## `").skip(1);
        let section = |text: &'static str| {
            let (code, rest) = text.split_once("`\n\nStatus ").unwrap_or((text, ""));
            (code, rest.split('.').next().unwrap_or_default())
        };
        sections.map(section).collect()
    }

    #[test]
    fn the_guide_has_a_section_for_each_code_and_no_other() {
        let table: Vec<_> = Code::ALL.iter().map(|code| (code.text(), code.status().as_u16().to_string())).collect();
        let table: Vec<_> = table.iter().map(|(code, status)| (*code, status.as_str())).collect();
        assert_eq!(sections(), table);
    }

    #[test]
    fn codes_are_distinct_words_in_the_order_of_their_statuses() {
        let mut texts: Vec<_> = Code::ALL.iter().map(|code| code.text()).collect();
        assert!(texts.iter().all(|text| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
        assert!(Code::ALL.is_sorted_by_key(|code| code.status().as_u16()));
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), Code::ALL.len());
    }
}
