//! Tests the compiler's messages for mistakes in the use of the attributes. Each file holds one mistake and is named
//! after it. The file with the ending `.stderr` holds the expected messages, word for word.
//!
//! If you change a message on purpose, run `TRYBUILD=overwrite cargo test -p postback-tests-ui`, and read the
//! difference.

use std::process::Command;

/// The flags of the compiler that trybuild uses for the cases. It builds the dependencies without the last one, and Cargo
/// builds everything once more for other flags. This variable goes before what trybuild says.
const FLAGS: (&str, &str) =
    ("CARGO_ENCODED_RUSTFLAGS", "--cfg\x1ftrybuild\x1f--verbose\x1f-A\x1fdead_code\x1f--diagnostic-width=140");

#[test]
fn each_mistake_is_told_on_the_users_own_words() {
    if std::env::var(FLAGS.0).is_ok_and(|flags| flags == FLAGS.1) {
        return trybuild::TestCases::new().compile_fail("*/*.rs");
    }
    // This process cannot set a variable of its own safely.
    let again = Command::new(std::env::current_exe().unwrap()).arg("--nocapture").env(FLAGS.0, FLAGS.1).status();
    assert!(again.unwrap().success());
}
