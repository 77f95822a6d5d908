//! Finds statements `let name = name;` in which the body of a method binds a parameter again, as `#[async_trait]`
//! writes them.
//!
//! The expressions of `#[async_handler]` use the parameter, but the body may never use the new variable. The compiler
//! would then warn of an unused variable, although the user's code uses the parameter.

use std::collections::HashSet;

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};

/// Finds each statement `let name = name;` in the body whose name is in `names`, and adds code that uses the variable
/// after the statement. `use_of` makes this code. Returns the changed body, or `None` if the body has no such
/// statement.
pub(crate) fn with_use_after_rebinding(
    body: &TokenStream,
    names: &HashSet<String>,
    use_of: impl Fn(&Ident) -> TokenStream,
) -> Option<TokenStream> {
    let tokens: Vec<_> = body.clone().into_iter().collect();
    let mut with_uses = TokenStream::new();
    let mut any = false;
    for (at, token) in tokens.iter().enumerate() {
        with_uses.extend([token.clone()]);
        if let Some(name) = rebound_name(&tokens[..=at]).filter(|name| names.contains(&name.to_string())) {
            with_uses.extend(use_of(name));
            any = true;
        }
    }
    any.then_some(with_uses)
}

/// Returns all words in the code. A word is a sequence of letters, digits and underscores. Words inside string literals
/// are included, because a format string such as `"{id}"` names a variable.
pub(crate) fn words(code: &TokenStream) -> HashSet<String> {
    let is_word_char = |char: char| char == '_' || char.is_alphanumeric();
    code.to_string().split(|char| !is_word_char(char)).map(str::to_owned).collect()
}

/// Returns `name`, if the tokens end with a statement `let name = name;`. Returns `None` for a statement with an
/// attribute, because the attribute may be a `#[cfg]` that removes the statement.
fn rebound_name(tokens: &[TokenTree]) -> Option<&Ident> {
    let [before @ .., TokenTree::Ident(name), TokenTree::Punct(eq), TokenTree::Ident(again), TokenTree::Punct(end)] =
        tokens
    else {
        return None;
    };
    (name == again && eq.as_char() == '=' && end.as_char() == ';').then_some(())?;
    let before = match before {
        [before @ .., TokenTree::Ident(word)] if word == "mut" => before,
        before => before,
    };
    let (word, before) = before.split_last()?;
    let is_let = matches!(word, TokenTree::Ident(word) if word == "let");
    let has_no_attribute = !matches!(before, [.., TokenTree::Group(group)] if group.delimiter() == Delimiter::Bracket);
    (is_let && has_no_attribute).then_some(name)
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    fn used(body: &str, code: &str) -> Option<String> {
        with_use_after_rebinding(&body.parse().unwrap(), &words(&code.parse().unwrap()), |name| quote!(<#name>))
            .map(|tokens| tokens.to_string())
    }

    #[test]
    fn a_variable_that_the_code_names_is_used_after_its_rebinding() {
        let body = "let __self = self; let mut a = a; let b = b; let c = d; #[cfg(x)] let e = e; a.f()";
        let code = r#"format_args!("{a}", b, c, e)"#;
        assert_eq!(
            used(body, code).unwrap(),
            "let __self = self ; let mut a = a ; < a > let b = b ; < b > let c = d ; # [cfg (x)] let e = e ; a . f ()"
        );
        assert_eq!(used(body, "self.url"), None);
    }
}
