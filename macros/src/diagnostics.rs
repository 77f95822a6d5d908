//! Mistakes of the user, collected so that all are told together.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

/// Runs `work` and returns what it made, or every mistake that it noted. Nothing made and nothing noted is a mistake of
/// this crate, and told as one: an attribute must never do nothing silently.
///
/// Invariant: there is no other way to a [`Diagnostics`], so none can be dropped unread.
pub(crate) fn gather<T>(work: impl FnOnce(&mut Diagnostics) -> Option<T>) -> Result<T, TokenStream> {
    let mut diagnostics = Diagnostics { errors: None };
    let made = work(&mut diagnostics);
    match (made, diagnostics.errors) {
        (Some(made), None) => Ok(made),
        (_, Some(errors)) => Err(errors.to_compile_error()),
        (None, None) => Err(syn::Error::new(Span::call_site(), "this attribute cannot be expanded").to_compile_error()),
    }
}

/// The mistakes noted so far.
pub(crate) struct Diagnostics {
    errors: Option<syn::Error>,
}

impl Diagnostics {
    /// Notes a mistake on these tokens of the user's, from the first to the last.
    pub(crate) fn on(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.add(syn::Error::new_spanned(tokens.into_token_stream(), message));
    }

    /// Notes a mistake at one place; for what is not there, and so has no tokens.
    pub(crate) fn at(&mut self, span: Span, message: impl std::fmt::Display) {
        self.add(syn::Error::new(span, message));
    }

    /// Notes what a parser found.
    pub(crate) fn add(&mut self, error: syn::Error) {
        match &mut self.errors {
            Some(errors) => errors.combine(error),
            None => self.errors = Some(error),
        }
    }
}

/// The one of `known` that was probably meant.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    // As usual for suggestions: a third of the letters may differ.
    let near = |candidate: &str| strsim::damerau_levenshtein(&word.to_lowercase(), candidate);
    let best = known.iter().min_by_key(|candidate| near(candidate))?;
    (near(best) <= word.len().max(3) / 3).then_some(*best)
}

/// `` `a`, `b` and `c` ``.
pub(crate) fn listed(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// "unknown …" with the nearest known word and the list of all.
pub(crate) fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    let hint = nearest(word, known).map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
    let separator = if hint.is_empty() { ";" } else { "" };
    let verb = if known.len() == 1 { "is only" } else { "are" };
    format!("unknown {what} `{word}`{hint}{separator} there {verb} {}", listed(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_suggested_only_if_it_is_near() {
        let known = ["webhook", "request_id", "on"];
        assert_eq!(nearest("webhok", &known), Some("webhook"));
        assert_eq!(nearest("Webhook", &known), Some("webhook"));
        assert_eq!(nearest("reqest_id", &known), Some("request_id"));
        assert_eq!(nearest("timeout", &known), None);
    }

    #[test]
    fn an_unknown_word_is_told_with_all_known_ones() {
        assert_eq!(
            unknown("end", "complete", &["completed", "failed"]),
            "unknown end `complete`, did you mean `completed`? there are `completed` and `failed`"
        );
        assert_eq!(unknown("end", "xyz", &["completed"]), "unknown end `xyz`; there is only `completed`");
    }

    #[test]
    fn nothing_made_is_never_silent() {
        assert!(gather::<()>(|_| None).is_err());
    }
}
