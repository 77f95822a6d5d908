//! Parses the arguments of `#[postback::main(…)]`.

use proc_macro2::TokenStream;
use syn::parse::ParseStream;
use syn::{Expr, ExprLit, Lit, LitInt, Path};

use crate::arguments::{Arguments, Values, parse_crate};
use crate::diagnostics::Diagnostics;

const KEYS: [&str; 2] = ["worker_threads", "crate"];

/// The values of the attribute's arguments. A field is `None` if the user did not give the argument, or if the value
/// was wrong and the parser added an error.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) worker_threads: Option<LitInt>,
    /// The path that the user gave as the argument `crate`.
    pub(crate) crate_path: Option<Path>,
}

impl Args {
    pub(crate) fn parse(tokens: TokenStream, errors: &mut Diagnostics) -> Self {
        Arguments { keys: &KEYS, usage }.parse(tokens, errors).0
    }
}

impl Values for Args {
    fn parse_value(&mut self, key: &str, input: ParseStream<'_>, errors: &mut Diagnostics) -> syn::Result<()> {
        match key {
            "worker_threads" => self.worker_threads = parse_worker_threads(input, errors)?,
            "crate" => self.crate_path = parse_crate(input, errors)?,
            // This arm is never reached, because `key` is always one of `KEYS`.
            _ => {}
        }
        Ok(())
    }
}

/// Returns an example of the argument with the given key. Error messages show the example.
fn usage(key: &str) -> String {
    match key {
        "worker_threads" => "worker_threads = 4".to_owned(),
        _ => format!("{key} = ::postback"),
    }
}

fn parse_worker_threads(input: ParseStream<'_>, errors: &mut Diagnostics) -> syn::Result<Option<LitInt>> {
    let value: Expr = input.parse()?;
    if let Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) = &value
        && number.suffix().is_empty()
        && number.base10_parse::<u16>().is_ok_and(|number| number > 0)
    {
        return Ok(Some(number.clone()));
    }
    errors.on(
        value,
        "`worker_threads` must be a number from 1 to 65535, for example `worker_threads = 4`; if the number is known \
         only at start, use the setting `worker.threads`",
    );
    Ok(None)
}
