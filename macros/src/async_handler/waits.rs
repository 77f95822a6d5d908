//! Whether a body can wait, as far as its tokens tell. One that cannot need not be kept in a future.

use proc_macro2::{TokenStream, TokenTree};

/// Macros that add no `.await` to what they are given: of the standard library, and the usual ones to log and to fail.
const WITHOUT_AWAIT: [&str; 46] = [
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

/// Words that a `!` is an operator behind.
const BEFORE_OPERAND: [&str; 9] = ["if", "while", "match", "return", "in", "else", "break", "move", "await"];

/// `false` only if there is no `.await`, and no macro that could hide one.
pub(crate) fn may_wait(tokens: &TokenStream) -> bool {
    let tokens: Vec<_> = tokens.clone().into_iter().collect();
    tokens.iter().enumerate().any(|(at, token)| match token {
        TokenTree::Group(group) => may_wait(&group.stream()),
        TokenTree::Ident(word) if word == "await" => true,
        TokenTree::Ident(name) => is_call(&tokens[at + 1..]) && is_unknown(&name.to_string()),
        _ => false,
    })
}

/// `!` and what a macro is given, as opposed to `!=`.
fn is_call(behind: &[TokenTree]) -> bool {
    match behind {
        [TokenTree::Punct(mark), next, ..] if mark.as_char() == '!' => {
            // `macro_rules! name { … }`, too.
            !matches!(next, TokenTree::Punct(_) | TokenTree::Literal(_))
        }
        _ => false,
    }
}

fn is_unknown(name: &str) -> bool {
    !WITHOUT_AWAIT.contains(&name) && !BEFORE_OPERAND.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(body: &str) -> bool {
        may_wait(&body.parse().unwrap())
    }

    #[test]
    fn an_await_is_found_wherever_it_stands() {
        for body in ["a().await", "if b { [c(d.await)]; }", "format!(\"{}\", a.await)", "select! { _ = a => {} }"] {
            assert!(waits(body), "{body}");
        }
        for body in ["own::join!(a, b)", "macro_rules! m { () => {} }", "if !m!() {}", "a != b!()"] {
            assert!(waits(body), "{body}");
        }
    }

    #[test]
    fn a_body_without_one_does_not_wait() {
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
            assert!(!waits(body), "{body}");
        }
    }
}
