//! Finds the function parameters that the expression `webhook` reads. These parameters decide whether the operator or a
//! caller chose the URL.
//!
//! This file finds only the names of the parameters. The generated code checks their types, because the compiler knows
//! the type of a parameter even if the user gave the type another name. If the parameters cannot be found, the URL does
//! not count as the operator's choice.

use std::collections::HashSet;

use proc_macro2::{Delimiter, Ident, Span, TokenStream, TokenTree};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::{FnArg, Pat, Signature};

use super::tokens::{is_joint, is_punct};
use crate::paths::RuntimeCrate;

/// The names of macros that read nothing but their arguments.
const KNOWN_MACROS: [&str; 9] =
    ["concat", "env", "format", "format_args", "include_str", "matches", "option_env", "stringify", "vec"];
/// The keywords after which a `!` is the operator "not", and not part of a macro call.
const KEYWORDS_BEFORE_NOT: [&str; 9] = ["if", "while", "match", "return", "in", "else", "break", "move", "let"];

/// The inputs of the expression `webhook`: the parameters that the expression reads, if they are known.
pub(crate) enum WebhookInputs {
    /// The expression reads only the listed parameters, and statics, constants and literals of the program.
    Parameters(Vec<Ident>),
    /// It is not known which values the expression reads.
    Unknown,
}

impl WebhookInputs {
    /// Finds the inputs of the expression `webhook`. `before` are the tokens of the function that run before the
    /// expression. These tokens may declare local variables.
    pub(crate) fn of(expression: &TokenStream, signature: &Signature, before: &[TokenTree]) -> Self {
        let mut parameters = Vec::new();
        if !signature.inputs.iter().all(|input| collect_parameter_names(input, &mut parameters)) {
            return Self::Unknown;
        }
        let mut names = Names::default();
        names.scan(expression.clone());
        let before = words(before);
        let is_parameter = |name: &String| parameters.iter().any(|parameter| parameter.unraw() == name.as_str());
        let is_local = |name: &String| !is_parameter(name) && before.contains(name);
        // `#[async_trait]` renames `self` to `__self` in the body of a method.
        let is_self = |name: &str| matches!(name, "self" | "__self");
        if names.has_unknown_macro || names.words.iter().any(|name| is_self(name) || is_local(name)) {
            return Self::Unknown;
        }
        parameters.retain(|parameter| names.words.contains(&parameter.unraw().to_string()));
        Self::Parameters(parameters)
    }

    /// Generates a call of `by_operator`, which tells the runtime whether the expression `webhook` reads only the
    /// operator's values. If the inputs are unknown, generates no call.
    pub(crate) fn by_operator_call(&self, runtime: &RuntimeCrate) -> TokenStream {
        let Self::Parameters(parameters) = self else { return TokenStream::new() };
        let private = runtime.private();
        let questions = parameters
            .iter()
            .map(|parameter| quote_spanned!(Span::mixed_site()=> #private::OperatorCheck(&#parameter).is_operator()));
        let all = if parameters.is_empty() { quote!(true) } else { quote!(#(#questions)&&*) };
        quote_spanned!(Span::mixed_site()=> .by_operator(#all))
    }
}

/// Adds the names of the variables that a parameter declares. Returns `false` if some of these names cannot be found.
fn collect_parameter_names(input: &FnArg, found: &mut Vec<Ident>) -> bool {
    match input {
        FnArg::Receiver(_) => true,
        FnArg::Typed(parameter) => collect_pattern_names(&parameter.pat, found),
    }
}

/// Adds the names of the variables that a pattern declares. Returns `false` if some of these names cannot be found.
fn collect_pattern_names(pattern: &Pat, found: &mut Vec<Ident>) -> bool {
    match pattern {
        Pat::Ident(binding) => {
            found.push(binding.ident.clone());
            binding.subpat.as_ref().is_none_or(|(_, pattern)| collect_pattern_names(pattern, found))
        }
        Pat::TupleStruct(pattern) => pattern.elems.iter().all(|element| collect_pattern_names(element, found)),
        Pat::Tuple(pattern) => pattern.elems.iter().all(|element| collect_pattern_names(element, found)),
        Pat::Slice(pattern) => pattern.elems.iter().all(|element| collect_pattern_names(element, found)),
        Pat::Struct(pattern) => pattern.fields.iter().all(|field| collect_pattern_names(&field.pat, found)),
        Pat::Reference(pattern) => collect_pattern_names(&pattern.pat, found),
        Pat::Paren(pattern) => collect_pattern_names(&pattern.pat, found),
        Pat::Wild(_) | Pat::Rest(_) => true,
        // A macro in a pattern, or an unknown kind of pattern, may declare variables with unknown names.
        _ => false,
    }
}

/// Returns all identifiers and keywords in the tokens and in the groups among the tokens.
fn words(tokens: &[TokenTree]) -> HashSet<String> {
    let mut found = HashSet::new();
    for token in tokens {
        match token {
            TokenTree::Ident(word) => drop(found.insert(word.unraw().to_string())),
            TokenTree::Group(group) => {
                found.extend(words(&group.stream().into_iter().collect::<Vec<_>>()));
            }
            _ => {}
        }
    }
    found
}

/// The words in an expression that may be names of variables. It is safe to include a word that is not a variable: at
/// worst, the runtime does not trust a URL that the operator chose. It is not safe to omit the name of a variable,
/// because the runtime could trust a URL that a caller chose.
#[derive(Default)]
struct Names {
    words: HashSet<String>,
    /// Whether the expression calls a macro that is not in `KNOWN_MACROS`. Such a macro may read other values than its
    /// arguments.
    has_unknown_macro: bool,
}

impl Names {
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            let (before, behind) = (&tokens[..at], &tokens[at + 1..]);
            match token {
                TokenTree::Ident(word) => {
                    let word = word.unraw().to_string();
                    if is_macro_name(&word, behind) {
                        self.has_unknown_macro |= !is_known_macro(&word);
                    } else if !is_behind_dot(before) && !is_in_path(before, behind) {
                        self.words.insert(word);
                    }
                }
                // The literal may be a format string. In a format string, names in braces are variables.
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    if text.contains('{') {
                        self.words.extend(text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned));
                    }
                }
                TokenTree::Group(group) => self.scan(group.stream()),
                TokenTree::Punct(_) => {}
            }
        }
    }
}

pub(super) fn is_known_macro(word: &str) -> bool {
    KNOWN_MACROS.contains(&word)
}

/// Whether `word` is the name of a macro that is called. `behind` are the tokens that follow `word`.
fn is_macro_name(word: &str, behind: &[TokenTree]) -> bool {
    let [bang, TokenTree::Group(given), ..] = behind else { return false };
    is_punct(bang, '!') && given.delimiter() != Delimiter::None && !KEYWORDS_BEFORE_NOT.contains(&word)
}

/// Whether a word that follows the tokens `before` is the name of a field or method. This is so if the tokens end with
/// `.`, but not with `..`.
fn is_behind_dot(before: &[TokenTree]) -> bool {
    match before {
        [.., first, last] => is_punct(last, '.') && !(is_punct(first, '.') && is_joint(first)),
        [last] => is_punct(last, '.'),
        [] => false,
    }
}

/// Whether a word between the tokens `before` and `behind` belongs to a path such as `a::word` or `word::a`.
fn is_in_path(before: &[TokenTree], behind: &[TokenTree]) -> bool {
    let colons = |pair: &[TokenTree]| match pair {
        [first, second] => is_punct(first, ':') && is_joint(first) && is_punct(second, ':'),
        _ => false,
    };
    before.len().checked_sub(2).is_some_and(|at| colons(&before[at..])) || behind.get(..2).is_some_and(colons)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the names of the parameters that the expression reads, or `None` if the inputs are unknown.
    fn inputs(expression: &str, function: &str) -> Option<Vec<String>> {
        inputs_behind(expression, function, "")
    }

    fn inputs_behind(expression: &str, function: &str, before: &str) -> Option<Vec<String>> {
        let signature: Signature = syn::parse_str(function).unwrap();
        let before: Vec<_> = before.parse::<TokenStream>().unwrap().into_iter().collect();
        match WebhookInputs::of(&expression.parse().unwrap(), &signature, &before) {
            WebhookInputs::Parameters(parameters) => Some(parameters.iter().map(ToString::to_string).collect()),
            WebhookInputs::Unknown => None,
        }
    }

    const HANDLER: &str = "async fn f(config: C, Payload(body): P, id: I) -> R";

    fn names(expression: &str) -> Vec<String> {
        inputs(expression, HANDLER).unwrap_or_else(|| panic!("the inputs of {expression} are unknown"))
    }

    #[test]
    fn parameters_are_found_wherever_they_are_named() {
        for (expression, expected) in [
            ("config.webhook_url", &["config"][..]),
            ("URL", &[]),
            ("*URL", &[]),
            ("settings::url()", &[]),
            ("concat!(\"https://\", env!(\"HOST\"))", &[]),
            ("[config.a, \"https://example.com\"]", &["config"]),
            ("hook_of(&config, &body)", &["config", "body"]),
            ("format!(\"{}/{}\", config.base, id)", &["config", "id"]),
            ("format!(\"{}/{id}\", config.base)", &["config", "id"]),
            ("format!(\"{:>id$}\", config.base)", &["config", "id"]),
            ("format!(r\"{id}\")", &["id"]),
            ("if body.is_test { &config.a } else { &config.b }", &["config", "body"]),
            ("if !(body.is_test) { None } else { Some(URL) }", &["body"]),
            ("{ let a = &body.hook; a.clone() }", &["body"]),
            ("(|| body.hook.clone())()", &["body"]),
            ("Hook { body, ..Default::default() }", &["body"]),
            ("Hook { ..body }", &["body"]),
            ("config.urls[..id]", &["config", "id"]),
            // In each of the following expressions, the name of a parameter is also used as the name of a field, a
            // method or a module, or as text.
            ("config.body", &["config"]),
            ("config.body()", &["config"]),
            ("config.0.body", &["config"]),
            ("body::URL", &[]),
            ("crate::body", &[]),
            ("Self::hook(&config)", &["config"]),
            ("\"https://config.example/body\"", &[]),
            ("r#body.hook", &["body"]),
        ] {
            assert_eq!(names(expression), expected, "{expression}");
        }
    }

    #[test]
    fn inputs_behind_self_and_unknown_macros_are_unknown() {
        for expression in
            ["self.hook", "hooks(self)", "format!(\"{self}\")", "my::url!()", "[config.a, secret_url!(x)]"]
        {
            assert_eq!(inputs(expression, "async fn f(&self, config: C) -> R"), None, "{expression}");
        }
        assert_eq!(inputs("config.a", "async fn f(pattern!(config): C) -> R"), None);
        assert_eq!(inputs("Self::URL", "async fn f(&self) -> R"), Some(vec![]));
    }

    #[test]
    fn a_local_of_a_plain_function_may_hold_anything() {
        let (function, before) = ("fn f(config: C, body: B) -> F", "let hook = body.hook.clone(); async move");
        assert_eq!(inputs_behind("hook", function, before), None);
        assert_eq!(inputs_behind("format!(\"{hook}\")", function, before), None);
        assert_eq!(inputs_behind("config.url", function, before), Some(vec!["config".to_owned()]));
        // The local variable `config` hides the parameter `config`, so the compiler checks the type of the local
        // variable.
        let shadowed = "let config = Own(body); async move";
        assert_eq!(inputs_behind("config.url", function, shadowed), Some(vec!["config".to_owned()]));
    }

    #[test]
    fn the_generated_call_checks_the_type_of_each_parameter() {
        let call = |expression: &str, function: &str| {
            let signature: Signature = syn::parse_str(function).unwrap();
            WebhookInputs::of(&expression.parse().unwrap(), &signature, &[])
                .by_operator_call(&RuntimeCrate::new(None))
                .to_string()
                .replace(' ', "")
        };
        assert_eq!(call("URL", HANDLER), ".by_operator(true)");
        assert_eq!(call("self.url", HANDLER), "");
        let whose = |name: &str| format!("::postback::__private::OperatorCheck(&{name}).is_operator()");
        assert_eq!(call("f(config, id)", HANDLER), format!(".by_operator({}&&{})", whose("config"), whose("id")));
    }
}
