//! Connections that stay in the process, for tests. So an attempt needs no socket, and time can be moved meanwhile.

use std::fmt;
use std::sync::Arc;

use http::Uri;
use tokio::io::DuplexStream;

/// Opens the connections of the deliveries of a test.
#[derive(Clone)]
pub(crate) struct InMemory(Arc<dyn Fn(Uri) -> DuplexStream + Send + Sync>);

impl InMemory {
    /// `open` gets the origin of a URL, and returns the end of a connection that the HTTP client uses.
    pub(crate) fn new(open: impl Fn(Uri) -> DuplexStream + Send + Sync + 'static) -> Self {
        Self(Arc::new(open))
    }

    pub(super) fn open(&self, uri: Uri) -> DuplexStream {
        self.0(uri)
    }
}

impl fmt::Debug for InMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InMemory")
    }
}
