//! Parses the arguments of `#[async_handler(…)]`.

use proc_macro2::{Ident, Span, TokenStream};
use syn::parse::ParseStream;
use syn::punctuated::Punctuated;
use syn::{Expr, ExprPath, LitBool, Path, Token, bracketed};

use super::user_expr::{self, example};
use crate::arguments::{Arguments, GivenKeys, Values, boolean, parse_crate, word};
use crate::diagnostics::{Diagnostics, listed, unknown};

const KEYS: [&str; 8] = ["webhook", "request_id", "on", "error", "result", "format", "durable", "crate"];
/// The names of the outcomes, and of what comes before, that a user can list in the argument `on`.
const OUTCOMES: [&str; 5] = ["completed", "failed", "cancelled", "dropped", "progress"];
/// The forms of reports: the word of the user, and the variant of the runtime's enum `Format`.
const FORMATS: [(&str, &str); 6] = [
    ("cortex", "Cortex"),
    ("standard", "Standard"),
    ("cloudevents", "CloudEvents"),
    ("replicate", "Replicate"),
    ("runpod", "RunPod"),
    ("fal", "Fal"),
];

/// The values of the attribute's arguments. A field is `None` if the user did not give the argument, or if the value
/// was wrong and the parser added an error.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) webhook: Option<Expr>,
    pub(crate) request_id: Option<Expr>,
    pub(crate) on: Option<Vec<Ident>>,
    pub(crate) error: Option<ErrorView>,
    pub(crate) result: Option<ResultView>,
    /// The variant of the runtime's enum `Format`, at the location of the user's word.
    pub(crate) format: Option<Ident>,
    pub(crate) durable: Option<bool>,
    /// The path that the user gave as the argument `crate`.
    pub(crate) crate_path: Option<Path>,
    given: GivenKeys,
}

/// The value of the argument `error`. It says what the report of a failed call contains about the error.
pub(crate) enum ErrorView {
    /// The report contains nothing about the error.
    None,
    /// The report contains a reason such as `timeout`, but not the error itself.
    Reason,
    /// The report contains the text that `Display` makes of the error. The field is the span of the user's word
    /// `display`.
    Display(Span),
    /// The report contains the text that `Debug` makes of the error. The field is the span of the user's word `debug`.
    Debug(Span),
    /// The report contains the value that the user's function returns for the error. The field is the path of this
    /// function.
    Function(ExprPath),
}

/// The value of the argument `result`. It says what the report of a completed call contains about the result.
pub(crate) enum ResultView {
    /// The report contains the whole result as JSON.
    Json,
    /// The report does not contain the result.
    Omitted,
    /// The report contains the value that the user's function returns for the result. The field is the path of this
    /// function.
    Function(ExprPath),
}

impl Args {
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Diagnostics) -> Self {
        let arguments = Arguments { keys: &KEYS, usage };
        let (mut args, given) = arguments.parse::<Self>(tokens, errors);
        args.given = given;
        args
    }

    /// Whether the user gave the argument with the key `key`, even if its value was wrong.
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
            "format" => self.format = parse_format(input, errors)?,
            "durable" => self.durable = parse_durable(input, errors)?,
            "crate" => self.crate_path = parse_crate(input, errors)?,
            // This arm is never reached, because `key` is always one of `KEYS`.
            _ => {}
        }
        Ok(())
    }
}

/// Returns an example of the argument with the given key. Error messages show the example.
pub(crate) fn usage(key: &str) -> String {
    match key {
        "webhook" | "request_id" => format!("{key} = {}", example(key)),
        "on" => "on = [completed, failed, cancelled]".to_owned(),
        "error" => "error = display".to_owned(),
        "result" => "result = false".to_owned(),
        "format" => "format = standard".to_owned(),
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
        errors.at(
            bracket.span.join(),
            format!("an empty list reports nothing; name the outcomes to report, for example `{}`", usage("on")),
        );
        return Ok(None);
    }
    let mut outcomes: Vec<Ident> = Vec::new();
    for outcome in &given {
        match word(outcome) {
            Some(outcome) if outcomes.contains(outcome) => {
                errors.on(outcome, format!("`{outcome}` is listed twice; remove one of them"));
            }
            Some(outcome) if OUTCOMES.iter().any(|known| outcome == known) => outcomes.push(outcome.clone()),
            Some(other) => errors.on(other, unknown("outcome", &other.to_string(), &OUTCOMES)),
            None => errors.on(outcome, format!("expected the name of an outcome, for example `{}`", usage("on"))),
        }
    }
    Ok((outcomes.len() == given.len()).then_some(outcomes))
}

fn parse_error(input: ParseStream<'_>, errors: &mut Diagnostics) -> syn::Result<Option<ErrorView>> {
    const WORDS: [&str; 4] = ["none", "reason", "display", "debug"];
    let value: Expr = input.parse()?;
    Ok(match word(&value) {
        Some(word) if word == "none" => Some(ErrorView::None),
        Some(word) if word == "reason" => Some(ErrorView::Reason),
        Some(word) if word == "display" => Some(ErrorView::Display(word.span())),
        Some(word) if word == "debug" => Some(ErrorView::Debug(word.span())),
        _ => path_or_word(value, &WORDS, "error", errors).map(ErrorView::Function),
    })
}

fn parse_result(input: ParseStream<'_>, errors: &mut Diagnostics) -> syn::Result<Option<ResultView>> {
    let value: Expr = input.parse()?;
    Ok(match boolean(&value) {
        Some(LitBool { value: true, .. }) => Some(ResultView::Json),
        Some(LitBool { value: false, .. }) => Some(ResultView::Omitted),
        None => path_or_word(value, &["true", "false"], "result", errors).map(ResultView::Function),
    })
}

fn parse_format(input: ParseStream<'_>, errors: &mut Diagnostics) -> syn::Result<Option<Ident>> {
    let value: Expr = input.parse()?;
    let names = FORMATS.map(|(name, _)| name);
    let Some(word) = word(&value) else {
        errors.on(value, format!("`format` must be one of the words {}", listed(&names)));
        return Ok(None);
    };
    let variant = FORMATS.iter().find(|(name, _)| word == name);
    if variant.is_none() {
        errors.on(word, unknown("format", &word.to_string(), &names));
    }
    Ok(variant.map(|(_, variant)| Ident::new(variant, word.span().resolved_at(Span::mixed_site()))))
}

fn parse_durable(input: ParseStream<'_>, errors: &mut Diagnostics) -> syn::Result<Option<bool>> {
    let value: Expr = input.parse()?;
    let durable = boolean(&value).map(|bool| bool.value);
    if durable.is_none() {
        errors.on(value, "`durable` must be `true` or `false`");
    }
    Ok(durable)
}

/// Returns the path in `value`, if `value` is the path of a function. For another value, adds an error that suggests
/// what the user may have meant, and returns `None`.
fn path_or_word(value: Expr, words: &[&str], key: &str, errors: &mut Diagnostics) -> Option<ExprPath> {
    let types = if key == "error" { "`fn(&E) -> impl Serialize`" } else { "`fn(&T) -> impl Serialize`" };
    let choice = format!("one of `{}`, or the path of a function {types}", words.join("`, `"));
    if let Some(meant) = misspelled_word(&value, words) {
        errors.on(value, format!("`{key}` must be {choice}; did you mean `{meant}`?"));
        return None;
    }
    match value {
        Expr::Path(path) if path.attrs.is_empty() => Some(path),
        Expr::Closure(_) => {
            errors.on(
                value,
                format!(
                    "`{key}` must be {choice}; move the closure into a function and give the path of that function"
                ),
            );
            None
        }
        other => {
            errors.on(other, format!("`{key}` must be {choice}"));
            None
        }
    }
}

/// Returns the word in `words` that the user probably meant, if the value cannot be the path of a function. For
/// example, a user who writes `Display` meant `display`, and a user who writes `error = false` meant `error = none`.
fn misspelled_word<'a>(value: &Expr, words: &[&'a str]) -> Option<&'a str> {
    let given = boolean(value).map(|bool| bool.value.to_string()).or_else(|| word(value).map(Ident::to_string))?;
    let meant = match given.to_lowercase().as_str() {
        "none" | "false" if words.contains(&"none") => "none",
        "none" => "false",
        "true" => "display",
        other => return words.iter().find(|word| **word == other).copied(),
    };
    words.iter().find(|word| **word == meant).copied()
}
