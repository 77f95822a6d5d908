//! Tests of the check itself: which uses it refuses, and which it allows.

use std::collections::BTreeMap;

use super::*;

/// A crate that exists only here, so that the tests do not depend on the real rows.
const EXAMPLE: House = House {
    folder: "example/src",
    name: "postback",
    rows: &[&["id", "time"], &["store"], &["worker"], &["api", "inspector"]],
    shared: &["Common"],
    outside: &["lib"],
};

/// The problems that the check finds in a file of the example with this source.
fn problems_of(file: &str, source: &str) -> Vec<String> {
    let file = Path::new("example/src").join(file);
    EXAMPLE.check(&file, source).iter().map(|problem| problem.replace("example/src/", "")).collect()
}

#[test]
fn refuses_what_breaks_the_order_with_file_and_line() {
    let above = "store.rs:2: store must not use worker, which stands above it";
    let cases: [(&str, &str, &[&str]); 14] = [
        ("store.rs", "\nuse crate::worker::Options;", &[above]),
        (
            "store/sqlite.rs",
            "fn f() { crate::worker::x() }",
            &["store/sqlite.rs:1: store must not use worker, which stands above it"],
        ),
        ("store.rs", "\nuse postback::worker;", &[above]),
        ("store.rs", "\nuse ::postback::worker;", &[above]),
        ("store.rs", "\nfn f() -> ::postback::worker::X {}", &[above]),
        ("store.rs", "macro_rules! m { () => {\n$crate::worker::x() } }", &[above]),
        ("store.rs", "use crate::{id::X,\nworker::{self, Options}};", &[above]),
        ("api.rs", "use crate::inspector::X;", &["api.rs:1: api must not use inspector, which stands in the same row"]),
        (
            "store.rs",
            "use crate::RequestId;",
            &["store.rs:1: store uses crate::RequestId, which has no row; name the module that it is from"],
        ),
        ("store.rs", "use crate::*;", &["store.rs:1: store uses all of the crate; name the module"]),
        ("store.rs", "use super::id;", &["store.rs:1: `super` leaves store; write `crate::` and the module"]),
        (
            "store/sqlite.rs",
            "use super::{x, super::id};",
            &["store/sqlite.rs:1: `super` leaves store; write `crate::` and the module"],
        ),
        (
            "store.rs",
            "mod a { use super::super::id; }",
            &["store.rs:1: `super` leaves store; write `crate::` and the module"],
        ),
        ("util.rs", "", &["util.rs:1: util has no row; give it one in tests/house/layers.rs"]),
    ];
    for (file, source, expected) in cases {
        assert_eq!(problems_of(file, source), expected, "{source}");
    }
}

#[test]
fn lets_pass_what_keeps_the_order() {
    for source in [
        "use crate::{id::X, store::record, time};",
        "use crate::Common;",
        "// crate::worker\nconst X: &str = \"crate::worker\";",
        "/// See [`crate::worker`].\npub(crate) fn f() {}",
        "mod a { use super::b; }",
        "use other::postback::worker;",
        "#[cfg(test)]\nmod tests { use crate::worker; use super::super::x; }",
        "#[cfg(all(test, feature = \"x\"))]\n#[expect(x, reason = \"y\")]\npub(crate) fn f<A, B>() { crate::worker::x() }",
        "#[cfg(test)] use crate::{worker, api};",
        "#[cfg(test)] const X: crate::worker::Y = crate::worker::Y { a: 1 };",
        "struct X { #[cfg(test)] a: crate::worker::Y, b: u8 }",
    ] {
        assert_eq!(problems_of("store.rs", source), Vec::<String>::new(), "{source}");
    }
    assert_eq!(problems_of("lib.rs", "use crate::worker;"), Vec::<String>::new());
    assert_eq!(problems_of("store/sqlite.rs", "use super::super::store;").len(), 1);
}

#[test]
fn continues_after_items_for_tests() {
    for before in ["mod tests {}", "mod tests;", "use x::{y};", "const fn f() {}", "const X: Y = Y {};"] {
        let source = format!("#[cfg(test)] {before}\nuse crate::worker;");
        assert_eq!(problems_of("store.rs", &source).len(), 1, "{before}");
    }
    for condition in ["not(test)", "any(test, unix)"] {
        let source = format!("#[cfg({condition})] use crate::worker;");
        assert_eq!(problems_of("store.rs", &source).len(), 1, "{condition}");
    }
}

#[test]
fn finds_the_modules_for_tests() {
    let source = "#[cfg(test)]\nmod tests;\n#[cfg(test)] pub(crate) mod suite;\nmod real;\n#[cfg(test)] mod inner {}";
    assert_eq!(test_modules(&tokens(Path::new("x"), source)), ["tests", "suite"]);
}

#[test]
fn knows_each_module_once() {
    for house in [RUNTIME, MACROS] {
        let mut counts = BTreeMap::new();
        house.rows.iter().copied().flatten().for_each(|name| *counts.entry(name).or_insert(0) += 1);
        assert!(counts.values().all(|count| *count == 1), "{counts:?}");
    }
}
