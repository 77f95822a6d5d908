//! Tests the compiler's messages for mistakes in the use of the attributes. Each file holds one mistake and is named
//! after it. The file with the ending `.stderr` holds the expected messages, word for word.
//!
//! If you change a message on purpose, run `TRYBUILD=overwrite cargo test -p postback-tests --test ui`, and read the
//! difference.

#[test]
fn each_mistake_is_told_on_the_users_own_words() {
    trybuild::TestCases::new().compile_fail("ui/*/*.rs");
}
