//! Every shape of function that the attribute goes on: what it returned, and what was reported of it.
//!
//! The strictest lints are on, to see that the generated code trips none. Where one is expected, it is the user's own
//! code that it speaks of, with or without the attribute.

#![deny(warnings, missing_docs, unreachable_pub, unused_qualifications, clippy::pedantic, clippy::nursery)]
#![expect(clippy::unused_async, reason = "said of an annotated function as of a plain one")]
#![expect(clippy::redundant_pub_crate, reason = "it contradicts `unreachable_pub`")]

mod attributes;
mod bodies;
mod drops;
mod expressions;
mod functions;
mod futures;
mod lints;
mod methods;
mod panics;
mod patterns;
mod program;
mod results;
mod sizes;
mod support;
