//! Finds out whether an expression has no side effects: it only reads, and it calls only functions that are known to be
//! pure.
//!
//! An expression that is not known to be pure is evaluated only when its handler runs. So it is safe to miss a pure
//! expression, and wrong to accept one with side effects.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};

use super::tokens::{is_joint, is_punct};
use super::webhook_inputs::is_known_macro;

/// The names of methods of the standard library and of postback that have no side effects, whichever type they are
/// called on.
const PURE_METHODS: [&str; 62] = [
    "and_then",
    "as_bytes",
    "as_deref",
    "as_ref",
    "as_slice",
    "as_str",
    "borrow",
    "chain",
    "clone",
    "cloned",
    "collect",
    "concat",
    "contains",
    "contains_key",
    "copied",
    "deref",
    "ends_with",
    "expect",
    "filter",
    "filter_map",
    "find",
    "first",
    "flat_map",
    "flatten",
    "get",
    "header",
    "into",
    "into_inner",
    "into_iter",
    "is_empty",
    "is_none",
    "is_some",
    "is_some_and",
    "iter",
    "join",
    "last",
    "len",
    "map",
    "map_or",
    "ok",
    "or",
    "or_else",
    "parse",
    "replace",
    "secret",
    "split",
    "starts_with",
    "strip_prefix",
    "strip_suffix",
    "text",
    "then",
    "then_some",
    "to_lowercase",
    "to_owned",
    "to_str",
    "to_string",
    "to_vec",
    "trim",
    "unwrap_or",
    "unwrap_or_default",
    "unwrap_or_else",
    "values",
];
/// The methods in `PURE_METHODS` that call the function or closure that they get as an argument.
const CALLING_METHODS: [&str; 11] = [
    "and_then",
    "filter",
    "filter_map",
    "find",
    "flat_map",
    "is_some_and",
    "map",
    "map_or",
    "or_else",
    "then",
    "unwrap_or_else",
];
/// Functions that are known to have no side effects. Each entry is the name of a type and the name of a function of
/// this type.
const PURE_FUNCTIONS: [(&str, &str); 14] = [
    ("Box", "new"),
    ("Option", "as_deref"),
    ("String", "as_str"),
    ("String", "from"),
    ("String", "new"),
    ("ToString", "to_string"),
    ("Uri", "from_static"),
    ("Url", "as_str"),
    ("Url", "parse"),
    ("Vec", "new"),
    ("Webhook", "from_caller"),
    ("Webhook", "new"),
    ("Webhook", "trusted"),
    ("str", "to_owned"),
];
/// The keywords of expressions that count as having side effects.
const IMPURE_KEYWORDS: [&str; 6] = ["async", "await", "loop", "static", "unsafe", "while"];
/// The keywords that may stand directly before parentheses. Every other word before parentheses is the name of a
/// function that is called.
const KEYWORDS_BEFORE_PARENTHESES: [&str; 10] =
    ["as", "else", "if", "in", "let", "match", "move", "mut", "ref", "return"];

/// Whether the expression is known to have no side effects when it is evaluated.
pub(super) fn is_pure(expression: &TokenStream) -> bool {
    let tokens: Vec<_> = expression.clone().into_iter().collect();
    (0..tokens.len()).all(|at| is_pure_at(&tokens, at))
}

fn is_pure_at(tokens: &[TokenTree], at: usize) -> bool {
    let (before, behind) = (&tokens[..at], &tokens[at + 1..]);
    match &tokens[at] {
        TokenTree::Ident(word) => {
            !IMPURE_KEYWORDS.iter().any(|not| word == not) && !names_impure_code(before, word, behind)
        }
        // A `=` is a side effect if it assigns to an existing variable.
        TokenTree::Punct(punct) if punct.as_char() == '=' => !is_assignment(before, behind),
        TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => {
            calls_only_pure_code(before) && is_given_only_pure_code(before, &group.stream()) && is_pure(&group.stream())
        }
        TokenTree::Group(group) => is_pure(&group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => true,
    }
}

/// Whether parentheses that follow the tokens `before` are not a function call, or call a function that is known to
/// have no side effects.
fn calls_only_pure_code(before: &[TokenTree]) -> bool {
    match before {
        [path @ .., TokenTree::Ident(name)] => {
            KEYWORDS_BEFORE_PARENTHESES.iter().any(|word| name == word)
                || if is_behind_dot(path) { is_pure_method(name) } else { is_pure_function(path, name) }
        }
        [.., bang] if is_punct(bang, '!') => true,
        // Parentheses after `>` may be a call such as `.collect::<Vec<_>>()`. This code does not search for the name of
        // the function before the `<`, so even a comparison such as `a > (b)` counts as a side effect.
        [.., token @ TokenTree::Punct(_)] => !is_punct(token, '>'),
        // Parentheses after a group such as `(f)` are a call of the function in the group. But if the group is a block
        // in braces, the parentheses begin a new expression.
        [.., TokenTree::Group(group)] => group.delimiter() == Delimiter::Brace,
        [.., TokenTree::Literal(_)] => false,
        [] => true,
    }
}

/// Whether `name` is the name of a macro or of a function that may have side effects. The name of a function matters
/// even without a call, because a method such as `map` may call the function that it gets as an argument.
fn names_impure_code(before: &[TokenTree], name: &Ident, behind: &[TokenTree]) -> bool {
    match behind {
        [TokenTree::Punct(bang), TokenTree::Group(group), ..]
            if bang.as_char() == '!'
                && group.delimiter() != Delimiter::None
                && !KEYWORDS_BEFORE_PARENTHESES.iter().any(|word| name == word) =>
        {
            !is_known_macro(&name.to_string())
        }
        // In this arm, `name` is the last segment of a path `a::b`, which names a function or a constant. The name of a
        // constant begins with an upper-case letter.
        [] | [TokenTree::Punct(_), ..] if is_behind_colons(before) && !is_colon(behind) => {
            !is_pure_function(before, name)
        }
        _ => false,
    }
}

/// Whether a method calls only arguments that are known to have no side effects. The name of the method is the last of
/// the tokens `before`. Arguments that are closures are accepted here, because `is_pure` checks the code in a closure.
fn is_given_only_pure_code(before: &[TokenTree], arguments: &TokenStream) -> bool {
    let calls = matches!(before, [.., TokenTree::Ident(name)] if CALLING_METHODS.iter().any(|known| name == known));
    let tokens: Vec<_> = arguments.clone().into_iter().collect();
    let mut arguments = tokens.split(|token| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ','));
    // An argument that is a single word may be the name of a function that the method calls.
    !calls || arguments.all(|argument| !matches!(argument, [TokenTree::Ident(name)] if !is_pure_function(&[], name)))
}

fn is_pure_method(name: &Ident) -> bool {
    PURE_METHODS.iter().any(|known| name == known)
}

/// Whether the function is in `PURE_FUNCTIONS`, or its name begins with an upper-case letter. A name that begins with
/// an upper-case letter is an enum variant, a tuple struct or a constant, and these have no side effects.
fn is_pure_function(path: &[TokenTree], name: &Ident) -> bool {
    let of = match path {
        [.., TokenTree::Ident(of), _, _] if is_behind_colons(path) => Some(of),
        _ => None,
    };
    name.to_string().starts_with(|first: char| first.is_ascii_uppercase())
        || of.is_some_and(|of| PURE_FUNCTIONS.iter().any(|(known, function)| of == known && name == function))
}

fn is_behind_dot(before: &[TokenTree]) -> bool {
    before.last().is_some_and(|last| is_punct(last, '.'))
}

fn is_behind_colons(before: &[TokenTree]) -> bool {
    matches!(before, [.., first, second] if is_punct(first, ':') && is_joint(first) && is_punct(second, ':'))
}

fn is_colon(behind: &[TokenTree]) -> bool {
    behind.first().is_some_and(|first| is_punct(first, ':'))
}

/// Whether a `=` between the tokens `before` and `behind` assigns to an existing variable. A `=` that belongs to `let`,
/// `==`, `<=`, `=>` or a similar operator is not an assignment.
fn is_assignment(before: &[TokenTree], behind: &[TokenTree]) -> bool {
    match before {
        // This `=` is the first character of `==` or `=>`.
        _ if matches!(behind, [TokenTree::Punct(next), ..] if matches!(next.as_char(), '=' | '>')) => false,
        [.., token @ TokenTree::Punct(punct)] if is_joint(token) => {
            !matches!(punct.as_char(), '=' | '!' | '<' | '>' | '.')
        }
        _ => !before.iter().any(|token| matches!(token, TokenTree::Ident(word) if word == "let")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pure(expression: &str) -> bool {
        is_pure(&expression.parse().unwrap())
    }

    #[test]
    fn an_expression_that_only_reads_is_pure() {
        for expression in [
            "config.webhook_url",
            "&payload.0.callback",
            "URL",
            "*URL",
            "settings::URL",
            "payload.hooks[0]",
            "[&config.a, \"https://example.com\"]",
            "Some(&config.a)",
            "headers.text(\"x-hook\")",
            "headers.text(\"x-hook\").map(Webhook::from_caller)",
            "payload.hook.as_deref().or(config.hook.as_deref())",
            "payload.hooks.iter().map(|hook| &hook.url)",
            "format!(\"{}/{request_id}\", config.base)",
            "if payload.is_test { None } else { Some(&config.url) }",
            "if !(payload.n >= 3) { a } else { b }",
            "{ let a = &payload.a; a.clone() }",
            "match payload.kind { Kind::A => &config.a, _ => &config.b }",
            "postback::Webhook::trusted(&config.url)",
            "request_id",
        ] {
            assert!(pure(expression), "{expression}");
        }
    }

    #[test]
    fn an_expression_that_may_do_more_is_not_pure() {
        for expression in [
            "next_hook()",
            "hooks::next()",
            "Hooks::next()",
            "config.pick()",
            "config.hooks.pop()",
            "(config.pick)()",
            "hooks[0]()",
            "COUNTER.fetch_add(1, Relaxed)",
            "payload.hook.clone().unwrap_or_else(hooks::next)",
            "payload.hook.map(next)",
            "payload.hook.map_or(URL, next)",
            "{ next(); URL }",
            "{ count += 1; URL }",
            "{ *count = 1; URL }",
            "unsafe { URL }",
            "secret_url!(x)",
            "format!(\"{}\", next())",
            "loop { break URL }",
        ] {
            assert!(!pure(expression), "{expression}");
        }
    }
}
