//! Finds out from the tokens of a function body whether the body may contain an `.await`. A body without
//! an `.await` runs as a closure, so the function's future does not have to hold the body.

use proc_macro2::{TokenStream, TokenTree};

/// The names of macros that expand to no `.await`, unless their arguments contain one: macros of the standard library,
/// and common macros of crates for logging, errors and JSON.
const MACROS_WITHOUT_AWAIT: [&str; 46] = [
    "anyhow",
    "assert",
    "assert_eq",
    "assert_ne",
    "bail",
    "cfg",
    "column",
    "compile_error",
    "concat",
    "dbg",
    "debug",
    "debug_assert",
    "debug_assert_eq",
    "debug_assert_ne",
    "ensure",
    "env",
    "eprint",
    "eprintln",
    "error",
    "event",
    "eyre",
    "file",
    "format",
    "format_args",
    "include_bytes",
    "include_str",
    "info",
    "json",
    "line",
    "log",
    "matches",
    "module_path",
    "option_env",
    "panic",
    "print",
    "println",
    "span",
    "stringify",
    "todo",
    "trace",
    "unimplemented",
    "unreachable",
    "vec",
    "warn",
    "write",
    "writeln",
];

/// The keywords after which a `!` is the operator "not", and not part of a macro call.
const KEYWORDS_BEFORE_NOT: [&str; 9] = ["if", "while", "match", "return", "in", "else", "break", "move", "await"];

/// Whether the tokens may contain an `.await`. Returns `false` only if the tokens have no `.await`, and no macro call
/// that could expand to an `.await`.
pub(crate) fn may_await(tokens: &TokenStream) -> bool {
    let tokens: Vec<_> = tokens.clone().into_iter().collect();
    tokens.iter().enumerate().any(|(at, token)| match token {
        TokenTree::Group(group) => may_await(&group.stream()),
        TokenTree::Ident(word) if word == "await" => true,
        TokenTree::Ident(name) => is_macro_call(&tokens[at + 1..]) && may_add_await(&name.to_string()),
        _ => false,
    })
}

/// Whether a word is the name of a macro that is called. `behind` are the tokens that follow the word. In a macro call,
/// they begin with `!`, but not with `!=`.
fn is_macro_call(behind: &[TokenTree]) -> bool {
    match behind {
        [TokenTree::Punct(mark), next, ..] if mark.as_char() == '!' => {
            // The token after the `!` need not be a group, because a definition `macro_rules! name { … }` counts as a
            // macro call.
            !matches!(next, TokenTree::Punct(_) | TokenTree::Literal(_))
        }
        _ => false,
    }
}

fn may_add_await(name: &str) -> bool {
    !MACROS_WITHOUT_AWAIT.contains(&name) && !KEYWORDS_BEFORE_NOT.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn awaits(body: &str) -> bool {
        may_await(&body.parse().unwrap())
    }

    #[test]
    fn an_await_is_found_wherever_it_stands() {
        for body in ["a().await", "if b { [c(d.await)]; }", "format!(\"{}\", a.await)", "select! { _ = a => {} }"] {
            assert!(awaits(body), "{body}");
        }
        for body in ["own::join!(a, b)", "macro_rules! m { () => {} }", "if !m!() {}", "a != b!()"] {
            assert!(awaits(body), "{body}");
        }
    }

    #[test]
    fn a_body_without_an_await_does_not_wait() {
        for body in [
            "",
            "Ok(1)",
            "if !(a) { return Err(b?) }",
            "a != (b)",
            "let x = !{ y };",
            "tracing::info!(a, \"b\"); std::vec![1]",
            "async { 1 }; await_all()",
            "\"a.await\"",
        ] {
            assert!(!awaits(body), "{body}");
        }
    }
}
