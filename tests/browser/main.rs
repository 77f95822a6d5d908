//! Tests of the pages in a browser: headless Chromium, which chromedriver drives.

mod attacks;
mod browser;
mod charts;
mod dashboard;
mod elements;
mod harness;
mod inspector;
mod live;
mod trying;
mod weight;

use std::process::ExitCode;

use libtest_mimic::Trial;
use postback_tests::need::{self, trial};

use self::browser::Browser;

/// A test. It gets a browser that shows an empty page.
type Test = fn(&mut Browser);

fn main() -> ExitCode {
    let arguments = need::arguments();
    // Each file of tests has a list of its own.
    let of_dashboard = [dashboard::TESTS, charts::TESTS, trying::TESTS, live::TESTS, attacks::TESTS];
    let tests = [harness::TESTS, inspector::TESTS, weight::TESTS, &of_dashboard.concat()].concat();
    let trials: Vec<Trial> = tests.into_iter().map(in_browser).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A test that is ignored if Chromium, chromedriver or curl is missing.
fn in_browser((name, test): (&'static str, Test)) -> Trial {
    let needs = [need::program("chromium"), need::program("chromedriver"), need::program("curl")];
    trial(name, needs, move || {
        let mut browser = Browser::start();
        test(&mut browser);
        browser.has_no_errors();
    })
}
