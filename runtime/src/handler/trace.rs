//! The extractor [`Trace`]: the trace that the request belongs to.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::extract::Parameter;
use super::{Extract, Needs, Run, Shared};
use crate::spans;
use postback_wire::trace::{TRACEPARENT, TRACESTATE};

/// The trace that the request belongs to (W3C Trace Context), for calls that the handler makes itself.
///
/// ```
/// use postback::{Payload, Trace};
///
/// async fn render(scene: Payload<String>, trace: Trace) -> Result<usize, String> {
///     for (name, value) in &trace.headers() {
///         println!("{name}: {}", value.to_str().unwrap_or_default()); // give these to your HTTP client
///     }
///     Ok(scene.len())
/// }
/// ```
///
/// If the server exports its spans (feature `otlp`), the trace continues below the span of the run. Otherwise it is the
/// one that the caller sent. To call a handler by hand, make one with [`Trace::new`], or `Trace::default()`, which is
/// empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    parent: Option<Arc<str>>,
    state: Option<Arc<str>>,
}

impl Trace {
    /// Makes a trace from the value of a header `traceparent`. It is not checked.
    pub fn new(traceparent: impl Into<String>) -> Self {
        Self { parent: Some(traceparent.into().into()), state: None }
    }

    /// Returns the value for the header `traceparent`. `None`: the caller sent no trace, and none is exported.
    pub fn traceparent(&self) -> Option<&str> {
        self.parent.as_deref()
    }

    /// Returns the value for the header `tracestate`.
    pub fn tracestate(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// Returns the headers that continue the trace in a call of the handler. Empty: there is no trace.
    pub fn headers(&self) -> HeaderMap {
        let all = [(TRACEPARENT, &self.parent), (TRACESTATE, &self.state)];
        all.into_iter()
            .filter_map(|(name, value)| {
                Some((HeaderName::from_static(name), HeaderValue::from_str(value.as_deref()?).ok()?))
            })
            .collect()
    }
}

impl Parameter for Trace {}

impl<S> Extract<S> for Trace {
    fn needs() -> Needs {
        Needs::of_one_request()
    }

    fn extract(run: &Run, _: &Shared<S>) -> Result<Self, String> {
        let sent = run.info.extras.as_ref();
        let own = spans::current().map(|span| span.to_string().into());
        let parent = own.or_else(|| sent.and_then(|extras| extras.traceparent.as_deref()).map(Arc::from));
        Ok(Self { parent, state: sent.and_then(|extras| extras.tracestate.as_deref()).map(Arc::from) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postback_store::Extras;
    use postback_wire::id::RequestId;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn it_is_the_trace_that_the_caller_sent() {
        let shared = Shared { settings: Arc::new(()), states: crate::handler::States::default() };
        let mut run = Run::of(RequestId::generate(), Arc::default(), bytes::Bytes::new());
        assert_eq!(<Trace as Extract<()>>::extract(&run, &shared).unwrap(), Trace::default());
        let extras = Extras { traceparent: Some(PARENT.into()), tracestate: Some("a=1".into()), ..Extras::default() };
        run.info.extras = extras.shared();
        let trace = <Trace as Extract<()>>::extract(&run, &shared).unwrap();
        assert_eq!((trace.traceparent(), trace.tracestate()), (Some(PARENT), Some("a=1")));
        assert_eq!((&trace.headers()["traceparent"], trace.headers().len()), (&HeaderValue::from_static(PARENT), 2));
        assert!(Trace::new("no\nheader").headers().is_empty());
    }
}
