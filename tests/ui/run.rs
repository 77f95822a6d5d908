//! Mistakes in the attributes, one per file and named for it, and exactly what the compiler then says.
//!
//! After a wanted change of a message: `TRYBUILD=overwrite cargo test -p postback-tests --test ui`, and read the difference.

#[test]
fn each_mistake_is_told_on_the_users_own_words() {
    trybuild::TestCases::new().compile_fail("ui/*/*.rs");
}
