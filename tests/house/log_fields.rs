//! Checks the names of the log's fields: each name that the code uses must be in the table of the operator's guide.

use std::collections::BTreeSet;
use std::path::Path;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use crate::{files_below, none, root};

const GUIDE: &str = "runtime/docs/guide/operator.md";
/// The head of the guide's table of fields.
const HEAD: &str = "| field | what it holds |";
/// Macros of the runtime that call a macro of `tracing`, and the number of arguments before the arguments of `tracing`.
const WRAPPERS: [(&str, usize); 2] = [("attempt_event", 2), ("warn_unless_logged", 1)];

/// The file with the spans for tracing systems, which the log does not show.
const SPANS: &str = "runtime/src/spans.rs";
const GUIDE_OF_SPANS: &str = "runtime/docs/guide/traces.md";
const HEAD_OF_SPANS: &str = "| attribute | what it says |";

#[test]
fn every_field_of_the_log_is_in_the_operators_guide() {
    check(GUIDE, HEAD, |file| file != Path::new(SPANS));
}

#[test]
fn every_attribute_of_a_span_is_in_the_guide_of_traces() {
    check(GUIDE_OF_SPANS, HEAD_OF_SPANS, |file| file == Path::new(SPANS));
}

/// Compares the table of the guide with the fields in the files.
fn check(guide_file: &str, head: &str, is_meant: impl Fn(&Path) -> bool) {
    let guide = std::fs::read_to_string(root().join(guide_file)).unwrap();
    let documented = fields_in(&guide, head);
    assert!(documented.len() > 10, "{guide_file} has no table that begins with {head:?}");
    let (mut problems, mut used) = (Vec::new(), BTreeSet::new());
    for file in files_below("runtime", ".rs").into_iter().filter(|file| !is_for_tests(file) && is_meant(file)) {
        let source = std::fs::read_to_string(root().join(&file)).unwrap();
        for (line, field) in fields(&source) {
            if !documented.contains(&field) {
                let place = format!("{}:{line}", file.display());
                problems
                    .push(format!("{place}: the field `{field}` is not in the table of {guide_file}: use one that is"));
            }
            used.insert(field);
        }
    }
    problems.extend(documented.difference(&used).map(|field| format!("{guide_file}: nothing has the field `{field}`")));
    none(&problems);
}

fn is_for_tests(file: &Path) -> bool {
    file.with_extension("").iter().any(|part| part == "tests" || part == "suite")
}

/// The fields in the first column of the table.
fn fields_in(guide: &str, head: &str) -> BTreeSet<String> {
    let table = guide.lines().skip_while(|line| *line != head).skip(2).take_while(|line| line.starts_with('|'));
    let cells = table.filter_map(|row| row.split('|').nth(1));
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect()
}

/// The fields of all events and spans in a source file, with their line numbers.
fn fields(source: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    walk(source.parse().unwrap(), &mut found);
    found
}

fn walk(stream: TokenStream, found: &mut Vec<(usize, String)>) {
    let tokens: Vec<_> = stream.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        let before = &tokens[..at];
        if is_test_module(before) {
            continue;
        }
        if let Some((skipped, is_span)) = called(before) {
            fields_of(group, skipped, is_span, found);
        }
        walk(group.stream(), found);
    }
}

/// Whether a group after these tokens is the body of `#[cfg(test)] mod NAME`.
fn is_test_module(before: &[TokenTree]) -> bool {
    let [.., TokenTree::Group(attribute), TokenTree::Ident(word), TokenTree::Ident(_)] = before else { return false };
    word == "mod" && attribute.to_string().replace(' ', "") == "[cfg(test)]"
}

/// Looks whether these tokens call a macro that logs. Returns the number of arguments before the arguments of
/// `tracing`, and whether the macro makes a span. `None` if the tokens do not call such a macro.
fn called(before: &[TokenTree]) -> Option<(usize, bool)> {
    let [rest @ .., TokenTree::Ident(name), TokenTree::Punct(bang)] = before else { return None };
    if bang.as_char() != '!' {
        return None;
    }
    // Inside a macro, the level may be a variable, such as `$level`.
    let path = if matches!(rest, [.., TokenTree::Punct(dollar)] if dollar.as_char() == '$') {
        &rest[..rest.len() - 1]
    } else {
        rest
    };
    let is_tracing = matches!(path, [.., TokenTree::Ident(tracing), TokenTree::Punct(_), TokenTree::Punct(colon)]
        if tracing == "tracing" && colon.as_char() == ':');
    let name = name.to_string();
    if is_tracing {
        return Some((0, name.ends_with("span")));
    }
    WRAPPERS.iter().find(|(wrapper, _)| *wrapper == name).map(|(_, skipped)| (*skipped, false))
}

fn fields_of(arguments: &Group, skipped: usize, is_span: bool, found: &mut Vec<(usize, String)>) {
    let tokens: Vec<_> = arguments.stream().into_iter().collect();
    let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ',');
    for argument in tokens.split(is_comma).skip(skipped) {
        match argument {
            // A text is the name of a span, or the message of an event. Arguments after the message fill its
            // placeholders.
            [TokenTree::Literal(_), ..] if is_span => {}
            [TokenTree::Literal(_), ..] => return,
            // These are `target: …`, and arguments that a macro passes on.
            [TokenTree::Ident(_), TokenTree::Punct(colon), ..] if colon.as_char() == ':' => {}
            [TokenTree::Punct(dollar), ..] if dollar.as_char() == '$' => {}
            [TokenTree::Punct(_), name @ ..] | name => found.extend(field(name)),
        }
    }
}

/// The field of an argument `name = …`, or of an argument that is only a name.
fn field(argument: &[TokenTree]) -> Option<(usize, String)> {
    let name = argument.split(|token| matches!(token, TokenTree::Punct(equals) if equals.as_char() == '=')).next()?;
    let first = name.first()?;
    assert!(
        !matches!(first, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace),
        "an argument of an unknown form"
    );
    Some((first.span().start().line, name.iter().map(ToString::to_string).collect()))
}

#[test]
fn fields_are_found_in_every_form() {
    let source = r#"
        tracing::info!("no field {} {named}", a, named = b);
        tracing::warn!(%id, status = code.as_u16(), ?subject, "text {x}", x = 1);
        tracing::$level!(request_id = %f($entry.id, 1), $($text)+);
        fn f() { match x { _ => tracing::error!(target: target::PANIC, place, "p") } }
        let span = tracing::error_span!(target: target::RUN, "run", route, n = 2);
        warn_unless_logged!(error, own, "text");
        attempt_event!(warn, entry, "text");
        other::info!(not, "text");
        #[cfg(test)]
        mod tests { fn f() { tracing::info!(of_a_test = 1, "x"); } }
    "#;
    let found: Vec<_> = fields(source).into_iter().map(|(_, field)| field).collect();
    assert_eq!(found, ["id", "status", "subject", "request_id", "place", "route", "n", "own"]);
    assert_eq!(fields(source)[0].0, 3);
    let guide = format!("text\n{HEAD}\n|---|---|\n| `a` | `no` |\n| `b`, `c` | x |\n\n| `d` | y |\n");
    assert_eq!(fields_in(&guide, HEAD), ["a", "b", "c"].map(str::to_owned).into());
}
