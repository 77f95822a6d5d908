//! Collects the user's mistakes, so that the compiler shows all of them at once.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

/// Runs `work` and returns its value. If `work` adds errors, `collect_errors` returns the errors instead of the value.
/// If `work` returns `None` and adds no error, this crate has a bug. In that case, `collect_errors` returns an error,
/// because an attribute must never silently do nothing.
///
/// Invariant: only this function creates a [`Diagnostics`], so no error can be dropped before the user sees it.
pub(crate) fn collect_errors<T>(work: impl FnOnce(&mut Diagnostics) -> Option<T>) -> Result<T, TokenStream> {
    let mut diagnostics = Diagnostics { errors: None };
    let value = work(&mut diagnostics);
    match (value, diagnostics.errors) {
        (Some(value), None) => Ok(value),
        (_, Some(errors)) => Err(errors.to_compile_error()),
        (None, None) => {
            let message = "this attribute cannot be expanded, and the reason is a bug in postback; please report it";
            Err(syn::Error::new(Span::call_site(), message).to_compile_error())
        }
    }
}

/// A list of the errors that were found in one use of an attribute.
pub(crate) struct Diagnostics {
    errors: Option<syn::Error>,
}

impl Diagnostics {
    /// Adds an error at the given tokens of the user. The compiler marks all these tokens, from the first to the last.
    pub(crate) fn on(&mut self, tokens: impl ToTokens, message: impl std::fmt::Display) {
        self.add(syn::Error::new_spanned(tokens.into_token_stream(), message));
    }

    /// Adds an error at one source location. Use this method if the user's code lacks something, so that there are no
    /// tokens to mark.
    pub(crate) fn at(&mut self, span: Span, message: impl std::fmt::Display) {
        self.add(syn::Error::new(span, message));
    }

    /// Adds an error that a parser returned.
    pub(crate) fn add(&mut self, error: syn::Error) {
        match &mut self.errors {
            Some(errors) => errors.combine(error),
            None => self.errors = Some(error),
        }
    }
}

/// Returns the word in `known` that the user probably meant when the user wrote `word`.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    // At most a third of the letters may differ. The compiler has the same limit for its suggestions.
    let distance = |candidate: &str| strsim::damerau_levenshtein(&word.to_lowercase(), candidate);
    let best = known.iter().min_by_key(|candidate| distance(candidate))?;
    (distance(best) <= word.len().max(3) / 3).then_some(*best)
}

/// Returns the words as one text, such as `` `a`, `b` and `c` ``.
pub(crate) fn listed(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// Returns the error message for an unknown word. The message lists all known words. If a known word has a similar
/// spelling, the message suggests it.
pub(crate) fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    let suggestion = nearest(word, known).map_or_else(|| ";".to_owned(), |near| format!("; did you mean `{near}`?"));
    format!("unknown {what} `{word}`{suggestion} known {what}s: {}", listed(known))
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
    fn the_message_for_an_unknown_word_lists_all_known_words() {
        assert_eq!(
            unknown("outcome", "complete", &["completed", "failed"]),
            "unknown outcome `complete`; did you mean `completed`? known outcomes: `completed` and `failed`"
        );
        assert_eq!(unknown("outcome", "xyz", &["completed"]), "unknown outcome `xyz`; known outcomes: `completed`");
    }

    #[test]
    fn a_missing_value_without_an_error_is_an_error() {
        assert!(collect_errors::<()>(|_| None).is_err());
    }
}
