//! Tests that need something which a machine may lack, such as a program or a port.
//!
//! A test whose needs are not met is reported as ignored, with the reason. If the environment variable
//! `POSTBACK_TEST_ALL` is `1`, the test is reported as failed. It never passes.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};

use libtest_mimic::{Arguments, Trial};

/// A checked need of a test. `Err` names what is missing.
pub type Need = Result<(), String>;

/// Reads the arguments of a test binary with `harness = false`. As for other test binaries, the variable
/// `RUST_TEST_THREADS` says how many tests run at the same time, unless an argument does.
pub fn arguments() -> Arguments {
    let mut arguments = Arguments::from_args();
    let threads = || std::env::var("RUST_TEST_THREADS").ok()?.parse().ok();
    arguments.test_threads = arguments.test_threads.or_else(threads);
    arguments
}

/// Checks that a program can be started by its name.
pub fn program(name: &str) -> Need {
    let mut command = Command::new(name);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the program {name} ({error})")),
    }
}

/// Checks that a port on the loopback address is free.
pub fn port(number: u16) -> Need {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, number)) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the port {number} of 127.0.0.1 ({error})")),
    }
}

/// A test with needs, for a test binary with `harness = false`.
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
    // The test fails if `--ignored` makes it run although its needs are not met.
    let failed = reason.clone();
    Trial::test(name, || Err(failed.into())).with_kind(reason).with_ignored_flag(!must_run)
}
