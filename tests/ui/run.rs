//! Tests the compiler's messages for mistakes in the use of the attributes. Each file holds one mistake and is named
//! after it. The file with the ending `.stderr` holds the expected messages, word for word.
//!
//! If you change a message on purpose, run `TRYBUILD=overwrite cargo test -p postback-tests-ui`, and read the
//! difference.

use std::process::Command;

/// The flags that trybuild sets for the cases. It builds the dependencies without the last one, and Cargo builds them once
/// more if the flags differ. This variable has priority over what trybuild sets, so both are the same.
const FLAGS: (&str, &str) =
    ("CARGO_ENCODED_RUSTFLAGS", "--cfg\x1ftrybuild\x1f--verbose\x1f-A\x1fdead_code\x1f--diagnostic-width=140");

#[test]
fn each_mistake_is_told_on_the_users_own_words() {
    if std::env::var(FLAGS.0).is_ok_and(|flags| flags == FLAGS.1) {
        return trybuild::TestCases::new().compile_fail("*/*.rs");
    }
    // This process cannot set a variable of its own safely. The name of the test keeps the filter of trybuild from
    // being one of tests.
    let mut again = Command::new(std::env::current_exe().unwrap());
    again
        .args(["each_mistake", "--nocapture"])
        .args(std::env::args().filter(|argument| argument.starts_with("trybuild=")));
    assert!(again.env(FLAGS.0, FLAGS.1).status().unwrap().success());
}
