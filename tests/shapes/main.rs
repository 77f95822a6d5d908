//! Tests `#[async_handler]` on every shape of function: what the function returns, and what is reported.
//!
//! The strictest lints are on, to show that the generated code triggers none of them. An `expect` in these tests is for
//! a lint that the test's own code triggers, also without the attribute.

#![deny(warnings, missing_docs, unreachable_pub, unused_qualifications, clippy::pedantic, clippy::nursery)]
#![expect(clippy::unused_async, reason = "the lint fires for the plain function too")]
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
