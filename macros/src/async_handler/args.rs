//! The arguments of the attribute, as they were given.

use proc_macro2::{Ident, Span, TokenStream};
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::{Expr, ExprPath, LitBool, Path, Token, bracketed};

use super::user_expr::{self, example};
use crate::arguments::{Arguments, Given, Values, boolean, parse_crate, word};
use crate::diagnostics::{Diagnostics, unknown};

const KEYS: [&str; 7] = ["webhook", "request_id", "on", "error", "result", "durable", "crate"];
const ENDS: [&str; 4] = ["completed", "failed", "cancelled", "dropped"];

/// What was given and was right. A field is empty if its key was not given, or was wrong and noted.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) webhook: Option<Expr>,
    pub(crate) request_id: Option<Expr>,
    pub(crate) on: Option<Vec<Ident>>,
    pub(crate) error: Option<ErrorView>,
    pub(crate) result: Option<ResultView>,
    pub(crate) durable: Option<bool>,
    pub(crate) runtime: Option<Path>,
    given: Given,
}

/// What a failed report tells of the error.
pub(crate) enum ErrorView {
    None,
    /// Why it failed, and nothing of the error itself.
    Reason,
    Display(Span),
    Debug(Span),
    With(ExprPath),
}

/// What a completed report tells of the result.
pub(crate) enum ResultView {
    Whole,
    Nothing,
    With(ExprPath),
}

impl Args {
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Diagnostics) -> Self {
        let arguments = Arguments { keys: &KEYS, usage };
        let (mut args, given) = arguments.parse::<Self>(tokens, errors);
        args.given = given;
        args
    }

    /// Whether the key was given, even if its value was wrong.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.given.has(key)
    }
}

impl Values for Args {
    fn parse_value(&mut self, key: &str, input: ParseStream<'_>, errors: &mut Diagnostics) -> syn::Result<()> {
        match key {
            "webhook" => self.webhook = user_expr::parse(input, key, errors)?,
            "request_id" => self.request_id = user_expr::parse(input, key, errors)?,
            "on" => self.on = parse_on(input, errors)?,
            "error" => self.error = parse_error(input, errors)?,
            "result" => self.result = parse_result(input, errors)?,
            "durable" => self.durable = parse_durable(input, errors)?,
            "crate" => self.runtime = parse_crate(input, errors)?,
            // Every key is one of `KEYS`.
            _ => {}
        }
        Ok(())
    }
}

/// How the key is written.
pub(crate) fn usage(key: &str) -> String {
    match key {
        "webhook" | "request_id" => format!("{key} = {}", example(key)),
        "on" => "on = [completed, failed, cancelled]".to_owned(),
        "error" => "error = display".to_owned(),
        "result" => "result = false".to_owned(),
        "durable" => "durable = true".to_owned(),
        _ => format!("{key} = ::postback"),
    }
}

fn parse_on(input: ParseStream<'_>, errors: &mut Diagnostics) -> syn::Result<Option<Vec<Ident>>> {
    if !input.peek(syn::token::Bracket) {
        let given: Expr = input.parse()?;
        errors.on(given, "`on` takes a list: write `on = [completed, failed, cancelled]`");
        return Ok(None);
    }
    let content;
    let bracket = bracketed!(content in input);
    let given = Punctuated::<Expr, Token![,]>::parse_terminated(&content)?;
    if given.is_empty() {
        errors.at(bracket.span.join(), format!("nothing would be reported; name ends, as in `{}`", usage("on")));
        return Ok(None);
    }
    let mut ends: Vec<Ident> = Vec::new();
    for end in &given {
        match word(end) {
            Some(end) if ends.contains(end) => {
                errors.on(end, format!("`{end}` is listed twice; leave one of them out"));
            }
            Some(end) if ENDS.iter().any(|known| end == known) => ends.push(end.clone()),
            Some(other) => errors.on(other, unknown("end", &other.to_string(), &ENDS)),
            None => errors.on(end, format!("expected the name of an end, as in `{}`", usage("on"))),
        }
    }
    Ok((ends.len() == given.len()).then_some(ends))
}

fn parse_error(input: ParseStream<'_>, errors: &mut Diagnostics) -> syn::Result<Option<ErrorView>> {
    const WORDS: [&str; 4] = ["none", "reason", "display", "debug"];
    let value: Expr = input.parse()?;
    Ok(match word(&value) {
        Some(word) if word == "none" => Some(ErrorView::None),
        Some(word) if word == "reason" => Some(ErrorView::Reason),
        Some(word) if word == "display" => Some(ErrorView::Display(word.span())),
        Some(word) if word == "debug" => Some(ErrorView::Debug(word.span())),
        _ => path_or_word(value, &WORDS, "error", errors).map(ErrorView::With),
    })
}

fn parse_result(input: ParseStream<'_>, errors: &mut Diagnostics) -> syn::Result<Option<ResultView>> {
    let value: Expr = input.parse()?;
    Ok(match boolean(&value) {
        Some(LitBool { value: true, .. }) => Some(ResultView::Whole),
        Some(LitBool { value: false, .. }) => Some(ResultView::Nothing),
        None => path_or_word(value, &["true", "false"], "result", errors).map(ResultView::With),
    })
}

fn parse_durable(input: ParseStream<'_>, errors: &mut Diagnostics) -> syn::Result<Option<bool>> {
    let value: Expr = input.parse()?;
    let durable = boolean(&value).map(|bool| bool.value);
    if durable.is_none() {
        errors.on(value, "`durable` is `true` or `false`");
    }
    Ok(durable)
}

/// A path to a function; what else it could have been meant to be is told.
fn path_or_word(value: Expr, words: &[&str], key: &str, errors: &mut Diagnostics) -> Option<ExprPath> {
    let types = if key == "error" { "`fn(&E) -> impl Serialize`" } else { "`fn(&T) -> impl Serialize`" };
    let choice = format!("one of `{}`, or the path of a function {types}", words.join("`, `"));
    if let Some(meant) = slip(&value, words) {
        errors.on(value, format!("`{key}` is {choice}; did you mean `{meant}`?"));
        return None;
    }
    match value {
        Expr::Path(path) if path.attrs.is_empty() => Some(path),
        Expr::Closure(_) => {
            errors.on(value, format!("`{key}` is {choice}; write the closure as a function and name it here"));
            None
        }
        other => {
            errors.on(other, format!("`{key}` is {choice}"));
            None
        }
    }
}

/// What a word was meant to be that cannot be a function: `Display`, or the other argument's way to say none.
fn slip<'a>(value: &Expr, words: &[&'a str]) -> Option<&'a str> {
    let said = boolean(value).map(|bool| bool.value.to_string()).or_else(|| word(value).map(Ident::to_string))?;
    let meant = match said.to_lowercase().as_str() {
        "none" | "false" if words.contains(&"none") => "none",
        "none" => "false",
        "true" => "display",
        other => return words.iter().find(|word| **word == other).copied(),
    };
    words.iter().find(|word| **word == meant).copied()
}
