//! What the webhook's expression reads: who chose the URL follows from it.
//!
//! Here it is found which parameters are named. What those are is asked of their types, in the generated code: an alias or a
//! helper function hides no type. What cannot be told is not the operator's choice.

use std::collections::HashSet;

use proc_macro2::{Delimiter, Ident, Spacing, Span, TokenStream, TokenTree};
use quote::{quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::{FnArg, Pat, Signature};

use crate::paths::Runtime;

/// Macros that read nothing but what they are given.
const KNOWN_MACROS: [&str; 9] =
    ["concat", "env", "format", "format_args", "include_str", "matches", "option_env", "stringify", "vec"];
/// Words that may stand before a `!` that is an operator.
const BEFORE_NOT: [&str; 9] = ["if", "while", "match", "return", "in", "else", "break", "move", "let"];

/// What an expression reads.
pub(crate) enum Reads {
    /// These parameters, and what belongs to the program: statics, constants, literals.
    Only(Vec<Ident>),
    /// What cannot be told.
    Anything,
}

impl Reads {
    /// Of an expression that is evaluated on entry of this function; `before` stands there between its begin and the evaluation.
    pub(crate) fn of(expression: &TokenStream, signature: &Signature, before: &[TokenTree]) -> Self {
        let mut parameters = Vec::new();
        if !signature.inputs.iter().all(|input| bindings(input, &mut parameters)) {
            return Self::Anything;
        }
        let mut named = Named::default();
        named.scan(expression.clone());
        let before = words(before);
        let is_parameter = |name: &String| parameters.iter().any(|parameter| parameter.unraw() == name.as_str());
        let is_local = |name: &String| !is_parameter(name) && before.contains(name);
        // `__self` is what `self` becomes where `#[async_trait]` rewrites it.
        let is_self = |name: &str| matches!(name, "self" | "__self");
        if named.untold || named.words.iter().any(|name| is_self(name) || is_local(name)) {
            return Self::Anything;
        }
        parameters.retain(|parameter| named.words.contains(&parameter.unraw().to_string()));
        Self::Only(parameters)
    }

    /// The call on the entry that says so; none where it cannot be told.
    pub(crate) fn told(&self, runtime: &Runtime) -> TokenStream {
        let Self::Only(parameters) = self else { return TokenStream::new() };
        let private = runtime.private();
        let asked = parameters
            .iter()
            .map(|parameter| quote_spanned!(Span::mixed_site()=> #private::Whose(&#parameter).is_operators()));
        let all = if parameters.is_empty() { quote!(true) } else { quote!(#(#asked)&&*) };
        quote_spanned!(Span::mixed_site()=> .by_operator(#all))
    }
}

/// Adds the names that a parameter binds; whether they could be found.
fn bindings(input: &FnArg, found: &mut Vec<Ident>) -> bool {
    match input {
        FnArg::Receiver(_) => true,
        FnArg::Typed(parameter) => bound(&parameter.pat, found),
    }
}

fn bound(pattern: &Pat, found: &mut Vec<Ident>) -> bool {
    match pattern {
        Pat::Ident(binding) => {
            found.push(binding.ident.clone());
            binding.subpat.as_ref().is_none_or(|(_, pattern)| bound(pattern, found))
        }
        Pat::TupleStruct(pattern) => pattern.elems.iter().all(|element| bound(element, found)),
        Pat::Tuple(pattern) => pattern.elems.iter().all(|element| bound(element, found)),
        Pat::Slice(pattern) => pattern.elems.iter().all(|element| bound(element, found)),
        Pat::Struct(pattern) => pattern.fields.iter().all(|field| bound(&field.pat, found)),
        Pat::Reference(pattern) => bound(&pattern.pat, found),
        Pat::Paren(pattern) => bound(&pattern.pat, found),
        Pat::Wild(_) | Pat::Rest(_) => true,
        // Out of a macro may come any name.
        _ => false,
    }
}

/// All words, wherever they stand.
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

/// Words that may be local variables. Rather too many than too few: a parameter that is named for nothing is asked as well.
#[derive(Default)]
struct Named {
    words: HashSet<String>,
    /// There is a macro that may expand to anything.
    untold: bool,
}

impl Named {
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            let (before, behind) = (&tokens[..at], &tokens[at + 1..]);
            match token {
                TokenTree::Ident(word) => {
                    let word = word.unraw().to_string();
                    if is_macro(&word, behind) {
                        self.untold |= !is_known_macro(&word);
                    } else if !is_field(before) && !is_in_path(before, behind) {
                        self.words.insert(word);
                    }
                }
                // Where it is a format, names in braces are parameters.
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

fn is_macro(word: &str, behind: &[TokenTree]) -> bool {
    let [bang, TokenTree::Group(given), ..] = behind else { return false };
    is_punct(bang, '!') && given.delimiter() != Delimiter::None && !BEFORE_NOT.contains(&word)
}

/// Behind a `.`, but not behind `..`.
fn is_field(before: &[TokenTree]) -> bool {
    match before {
        [.., first, last] => is_punct(last, '.') && !(is_punct(first, '.') && is_joint(first)),
        [last] => is_punct(last, '.'),
        [] => false,
    }
}

/// `a::word` or `word::a`.
fn is_in_path(before: &[TokenTree], behind: &[TokenTree]) -> bool {
    let colons = |pair: &[TokenTree]| matches!(pair, [first, second] if is_punct(first, ':') && is_joint(first) && is_punct(second, ':'));
    before.len().checked_sub(2).is_some_and(|at| colons(&before[at..])) || behind.get(..2).is_some_and(colons)
}

fn is_punct(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

fn is_joint(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.spacing() == Spacing::Joint)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parameters that are asked; `None` if it cannot be told.
    fn asked(expression: &str, function: &str) -> Option<Vec<String>> {
        asked_behind(expression, function, "")
    }

    fn asked_behind(expression: &str, function: &str, before: &str) -> Option<Vec<String>> {
        let signature: Signature = syn::parse_str(function).unwrap();
        let before: Vec<_> = before.parse::<TokenStream>().unwrap().into_iter().collect();
        match Reads::of(&expression.parse().unwrap(), &signature, &before) {
            Reads::Only(parameters) => Some(parameters.iter().map(ToString::to_string).collect()),
            Reads::Anything => None,
        }
    }

    const HANDLER: &str = "async fn f(config: C, Payload(body): P, id: I) -> R";

    fn names(expression: &str) -> Vec<String> {
        asked(expression, HANDLER).unwrap_or_else(|| panic!("{expression} cannot be told"))
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
            // Names of other things.
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
    fn what_cannot_be_told_is_told_to_be_so() {
        for expression in
            ["self.hook", "hooks(self)", "format!(\"{self}\")", "my::url!()", "[config.a, secret_url!(x)]"]
        {
            assert_eq!(asked(expression, "async fn f(&self, config: C) -> R"), None, "{expression}");
        }
        assert_eq!(asked("config.a", "async fn f(pattern!(config): C) -> R"), None);
        assert_eq!(asked("Self::URL", "async fn f(&self) -> R"), Some(vec![]));
    }

    #[test]
    fn a_local_of_a_plain_function_may_hold_anything() {
        let (function, before) = ("fn f(config: C, body: B) -> F", "let hook = body.hook.clone(); async move");
        assert_eq!(asked_behind("hook", function, before), None);
        assert_eq!(asked_behind("format!(\"{hook}\")", function, before), None);
        assert_eq!(asked_behind("config.url", function, before), Some(vec!["config".to_owned()]));
        // It shadows the parameter, and is asked in its place.
        let shadowed = "let config = Own(body); async move";
        assert_eq!(asked_behind("config.url", function, shadowed), Some(vec!["config".to_owned()]));
    }

    #[test]
    fn what_is_told_is_a_question_to_each_type() {
        let told = |expression: &str, function: &str| {
            let signature: Signature = syn::parse_str(function).unwrap();
            Reads::of(&expression.parse().unwrap(), &signature, &[])
                .told(&Runtime::new(None))
                .to_string()
                .replace(' ', "")
        };
        assert_eq!(told("URL", HANDLER), ".by_operator(true)");
        assert_eq!(told("self.url", HANDLER), "");
        let whose = |name: &str| format!("::postback::__private::Whose(&{name}).is_operators()");
        assert_eq!(told("f(config, id)", HANDLER), format!(".by_operator({}&&{})", whose("config"), whose("id")));
    }
}
