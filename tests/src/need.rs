//! What a test needs and a machine may lack.
//!
//! A test whose needs are not met is reported as ignored, with the reason, and as failed where `POSTBACK_TEST_ALL=1` says
//! that all tests are meant to run. It never passes.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};

use libtest_mimic::Trial;

/// `Err` says what is missing.
pub type Need = Result<(), String>;

/// A program, found by name.
pub fn program(name: &str) -> Need {
    let mut command = Command::new(name);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the program {name} ({error})")),
    }
}

/// A port of loopback that nobody else has.
pub fn port(number: u16) -> Need {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, number)) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the port {number} of 127.0.0.1 ({error})")),
    }
}

/// A test with needs, for a test program with `harness = false`.
pub fn trial<const N: usize>(name: &str, needs: [Need; N], test: impl FnOnce() + Send + 'static) -> Trial {
    let missing: Vec<String> = needs.into_iter().filter_map(Result::err).collect();
    if missing.is_empty() {
        return Trial::test(name, || {
            test();
            Ok(())
        });
    }
    let reason = format!("needs {}", missing.join(" and "));
    let must_run = std::env::var_os("POSTBACK_TEST_ALL").is_some_and(|value| value == "1");
    // Fails even when it is run although it is ignored.
    let failed = reason.clone();
    Trial::test(name, || Err(failed.into())).with_kind(reason).with_ignored_flag(!must_run)
}
