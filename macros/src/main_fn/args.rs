//! The arguments of the attribute, as they were given.

use proc_macro2::TokenStream;
use syn::parse::ParseStream;
use syn::{Expr, ExprLit, Lit, LitInt, Path};

use crate::arguments::{Arguments, Values, parse_crate};
use crate::diagnostics::Diagnostics;

const KEYS: [&str; 2] = ["worker_threads", "crate"];

/// What was given and was right. A field is empty if its key was not given, or was wrong and noted.
#[derive(Default)]
pub(crate) struct Args {
    pub(crate) worker_threads: Option<LitInt>,
    pub(crate) runtime: Option<Path>,
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
            "crate" => self.runtime = parse_crate(input, errors)?,
            // Every key is one of `KEYS`.
            _ => {}
        }
        Ok(())
    }
}

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
        "`worker_threads` is a number from 1 to 65535, such as `worker_threads = 4`; one that is known only at start \
         goes into the settings, as `worker.threads`",
    );
    Ok(None)
}
