//! Whether nobody can notice that an expression is evaluated: it reads, and calls no code that might do more.
//!
//! Rather too few than too many. What is not known to be plain is evaluated in runs, and never else.

use proc_macro2::{Delimiter, Ident, Spacing, TokenStream, TokenTree};

use super::chosen::is_known_macro;

/// Methods of the standard library and of ours that only read, whatever they are called on.
const METHODS: [&str; 62] = [
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
/// Those of them that call what they are given.
const CALLING: [&str; 11] = [
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
/// Functions likewise, by type and name.
const FUNCTIONS: [(&str, &str); 14] = [
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
/// These do something, or go on elsewhere.
const NOT_PLAIN: [&str; 6] = ["async", "await", "loop", "static", "unsafe", "while"];
/// What may stand before brackets without being called.
const WORDS: [&str; 10] = ["as", "else", "if", "in", "let", "match", "move", "mut", "ref", "return"];

pub(super) fn is_plain(expression: &TokenStream) -> bool {
    let tokens: Vec<_> = expression.clone().into_iter().collect();
    (0..tokens.len()).all(|at| is_plain_at(&tokens, at))
}

fn is_plain_at(tokens: &[TokenTree], at: usize) -> bool {
    let (before, behind) = (&tokens[..at], &tokens[at + 1..]);
    match &tokens[at] {
        TokenTree::Ident(word) => !NOT_PLAIN.iter().any(|not| word == not) && !is_name_of_unknown(before, word, behind),
        // An assignment, unless it compares or belongs to a `let` or an arm.
        TokenTree::Punct(punct) if punct.as_char() == '=' => !is_assignment(before, behind),
        TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis => {
            is_no_call_of_unknown(before) && calls_no_unknown(before, &group.stream()) && is_plain(&group.stream())
        }
        TokenTree::Group(group) => is_plain(&group.stream()),
        TokenTree::Punct(_) | TokenTree::Literal(_) => true,
    }
}

/// Whether brackets behind these tokens call nothing, or what is known.
fn is_no_call_of_unknown(before: &[TokenTree]) -> bool {
    match before {
        [.., TokenTree::Ident(name)] => {
            let (path, is_method) = (&before[..before.len() - 1], is_behind_dot(&before[..before.len() - 1]));
            WORDS.iter().any(|word| name == word)
                || if is_method { is_method_known(name) } else { is_function_known(path, name) }
        }
        [.., TokenTree::Punct(bang)] if bang.as_char() == '!' => true,
        // `.collect::<Vec<_>>()`: which function that is stands too far away; else a comparison.
        [.., TokenTree::Punct(punct)] => punct.as_char() != '>',
        // What another expression gives is called.
        [.., TokenTree::Group(group)] => group.delimiter() == Delimiter::Brace,
        [.., TokenTree::Literal(_)] => false,
        [] => true,
    }
}

/// A macro, or a function that is named to be called by another, such as by `map`.
fn is_name_of_unknown(before: &[TokenTree], name: &Ident, behind: &[TokenTree]) -> bool {
    match behind {
        [TokenTree::Punct(bang), TokenTree::Group(group), ..]
            if bang.as_char() == '!'
                && group.delimiter() != Delimiter::None
                && !WORDS.iter().any(|word| name == word) =>
        {
            !is_known_macro(&name.to_string())
        }
        // `a::b`, and nothing behind it: a function or a constant. The latter is not in small letters.
        [] | [TokenTree::Punct(_), ..] if is_behind_colons(before) && !is_colon(behind) => {
            !is_function_known(before, name)
        }
        _ => false,
    }
}

/// Whether what is given to a method is nothing that this would call, but for a closure, which is looked into.
fn calls_no_unknown(before: &[TokenTree], given: &TokenStream) -> bool {
    let calls = matches!(before, [.., TokenTree::Ident(name)] if CALLING.iter().any(|known| name == known));
    let tokens: Vec<_> = given.clone().into_iter().collect();
    let mut arguments = tokens.split(|token| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ','));
    // A word alone may be the name of a function.
    !calls || arguments.all(|argument| !matches!(argument, [TokenTree::Ident(name)] if !is_function_known(&[], name)))
}

fn is_method_known(name: &Ident) -> bool {
    METHODS.iter().any(|known| name == known)
}

/// A variant, a tuple struct or a constant, or a function that is in the list.
fn is_function_known(path: &[TokenTree], name: &Ident) -> bool {
    let of = match path {
        [.., TokenTree::Ident(of), _, _] if is_behind_colons(path) => Some(of),
        _ => None,
    };
    name.to_string().starts_with(|first: char| first.is_ascii_uppercase())
        || of.is_some_and(|of| FUNCTIONS.iter().any(|(known, function)| of == known && name == function))
}

fn is_behind_dot(before: &[TokenTree]) -> bool {
    matches!(before, [.., TokenTree::Punct(dot)] if dot.as_char() == '.')
}

fn is_behind_colons(before: &[TokenTree]) -> bool {
    matches!(before, [.., TokenTree::Punct(first), TokenTree::Punct(second)]
        if first.as_char() == ':' && first.spacing() == Spacing::Joint && second.as_char() == ':')
}

fn is_colon(behind: &[TokenTree]) -> bool {
    matches!(behind, [TokenTree::Punct(colon), ..] if colon.as_char() == ':')
}

/// Of a `=` behind these tokens.
fn is_assignment(before: &[TokenTree], behind: &[TokenTree]) -> bool {
    match before {
        // `==` and `=>`.
        _ if matches!(behind, [TokenTree::Punct(next), ..] if matches!(next.as_char(), '=' | '>')) => false,
        [.., TokenTree::Punct(punct)] if punct.spacing() == Spacing::Joint => {
            !matches!(punct.as_char(), '=' | '!' | '<' | '>' | '.')
        }
        _ => !before.iter().any(|token| matches!(token, TokenTree::Ident(word) if word == "let")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(expression: &str) -> bool {
        is_plain(&expression.parse().unwrap())
    }

    #[test]
    fn what_only_reads_is_plain() {
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
            assert!(plain(expression), "{expression}");
        }
    }

    #[test]
    fn what_may_do_more_is_not() {
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
            assert!(!plain(expression), "{expression}");
        }
    }
}
