//! What a report says of a result that is kept outside the store.

use serde::{Deserialize, Serialize};

/// Where a large result is, or one that is not JSON. It stands in the place of the result, in reports and in answers
/// about the request.
///
/// A receiver reads it as the type of the result:
///
/// ```
/// use postback::{ReceivedReport, StoredResult};
///
/// let body = br#"{"id":"7","status":"completed","result":{"result_url":"/thumb/7/result","size":3,
///     "content_type":"image/png","digest":"sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:","version":1},
///     "timestamp":"2026-11-28T10:00:00.000Z"}"#;
/// let report: ReceivedReport<StoredResult> = serde_json::from_slice(body)?;
/// assert_eq!(report.result.unwrap().result_url, "/thumb/7/result");
/// # Ok::<_, serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StoredResult {
    /// Where the bytes are: a signed URL of the object store, or the URL of the result in the API of the server. If the
    /// operator has not said where callers reach the server, this is a path on the server, which begins with a slash.
    pub result_url: String,
    /// The number of the bytes.
    pub size: u64,
    /// What the bytes are, as in the header `content-type`.
    pub content_type: String,
    /// The SHA-256 digest of the bytes, as in the header `repr-digest` (RFC 9530).
    pub digest: String,
    /// The time until which the URL works (RFC 3339). `None`: as long as the request is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Which of several results of the same request this is. Only the server needs it.
    pub version: u32,
}

impl StoredResult {
    /// Makes the description of a result.
    #[doc(hidden)]
    pub fn new(result_url: String, size: u64, content_type: String, digest: String, version: u32) -> Self {
        Self { result_url, size, content_type, digest, expires: None, version }
    }
}
