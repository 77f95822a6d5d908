//! End to end: real programs, real sockets, a real file, real signals.

mod api;
mod bad_input;
mod bad_start;
mod bounds;
mod cancel;
mod connections;
mod crash;
mod draining;
mod early_answers;
mod endpoints;
mod errors;
mod examples;
mod http;
mod isolation;
mod library;
mod replay;
mod reports;
mod runs;
mod secrets;
mod slow_bodies;
mod stalled_readers;
mod stopping;
mod support;
mod told;
mod trust;
mod verified;
