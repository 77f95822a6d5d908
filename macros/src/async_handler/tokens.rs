//! Small functions that classify single tokens. Several files of `async_handler` use them.

use proc_macro2::{Delimiter, Spacing, TokenTree};

/// Whether the token is the punctuation character `char`.
pub(super) fn is_punct(token: &TokenTree, char: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == char)
}

/// Whether the token is a punctuation character directly before another punctuation character, such as the first `:` of
/// `::`.
pub(super) fn is_joint(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.spacing() == Spacing::Joint)
}

/// Whether the token is the identifier or keyword `word`.
pub(super) fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

/// Whether the token is a group in braces, `{ … }`.
pub(super) fn is_braced(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}
