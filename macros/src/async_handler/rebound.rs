//! Parameters that the body of a method takes anew, `let name = name;`, as `#[async_trait]` writes it.
//!
//! The expressions of the attribute name the parameter, and what is bound anew may have no other use: the compiler would call
//! it an unused variable, with the user's own word for it.

use std::collections::HashSet;

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};

/// The body with `used` behind each such statement whose name is one of the words. `None` if there is none.
pub(crate) fn with_uses(
    body: &TokenStream,
    words: &HashSet<String>,
    used: impl Fn(&Ident) -> TokenStream,
) -> Option<TokenStream> {
    let tokens: Vec<_> = body.clone().into_iter().collect();
    let mut with = TokenStream::new();
    let mut any = false;
    for (at, token) in tokens.iter().enumerate() {
        with.extend([token.clone()]);
        if let Some(name) = rebound(&tokens[..=at]).filter(|name| words.contains(&name.to_string())) {
            with.extend(used(name));
            any = true;
        }
    }
    any.then_some(with)
}

/// The words in some code, also those in its literals: `"{id}"` names a variable.
pub(crate) fn words(code: &TokenStream) -> HashSet<String> {
    let is_of_word = |char: char| char == '_' || char.is_alphanumeric();
    code.to_string().split(|char| !is_of_word(char)).map(str::to_owned).collect()
}

/// The name in a statement `let name = name;` at the end. One with an attribute is left alone: it may not be there.
fn rebound(tokens: &[TokenTree]) -> Option<&Ident> {
    let [before @ .., TokenTree::Ident(name), TokenTree::Punct(equals), TokenTree::Ident(again), TokenTree::Punct(end)] =
        tokens
    else {
        return None;
    };
    (name == again && equals.as_char() == '=' && end.as_char() == ';').then_some(())?;
    let before = match before {
        [before @ .., TokenTree::Ident(word)] if word == "mut" => before,
        before => before,
    };
    let (word, before) = before.split_last()?;
    let is_let = matches!(word, TokenTree::Ident(word) if word == "let");
    let is_plain = !matches!(before, [.., TokenTree::Group(group)] if group.delimiter() == Delimiter::Bracket);
    (is_let && is_plain).then_some(name)
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn used(body: &str, code: &str) -> Option<String> {
        with_uses(&body.parse().unwrap(), &words(&code.parse().unwrap()), |name| quote!(<#name>))
            .map(|tokens| tokens.to_string())
    }

    #[test]
    fn what_the_code_names_is_used_behind_its_statement() {
        let body = "let __self = self; let mut a = a; let b = b; let c = d; #[cfg(x)] let e = e; a.f()";
        let code = r#"format_args!("{a}", b, c, e)"#;
        assert_eq!(
            used(body, code).unwrap(),
            "let __self = self ; let mut a = a ; < a > let b = b ; < b > let c = d ; # [cfg (x)] let e = e ; a . f ()"
        );
        assert_eq!(used(body, "self.url"), None);
    }
}
