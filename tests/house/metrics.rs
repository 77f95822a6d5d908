//! Checks the metrics: the operator's guide lists each of them with its labels, and the code emits each with the kind and
//! the labels of the table in `names/metric.rs`.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use crate::{files_below, none, root};

const TABLE: &str = "runtime/wire/src/names/metric.rs";
const GUIDE: &str = "runtime/docs/guide/operator.md";
/// The head of the guide's table of metrics.
const HEAD: &str = "| metric | tell someone, if |";

/// A line of the table: `NAME = "postback_x_total", Counter, Count, ["label"];`.
#[derive(Debug)]
pub(crate) struct Metric {
    pub(crate) name: String,
    /// The name of the macro that emits it.
    pub(crate) kind: String,
    pub(crate) labels: BTreeSet<String>,
}

/// The table of the metrics, by the names of their constants.
pub(crate) fn table() -> BTreeMap<String, Metric> {
    let text = std::fs::read_to_string(root().join(TABLE)).unwrap();
    let lines = text.lines().map(str::trim).filter(|line| line.contains(" = \"postback_") && line.ends_with("];"));
    let metric = |line: &str| {
        let (constant, rest) = line.split_once(" = ").unwrap();
        let quoted: Vec<_> = rest.split('"').skip(1).step_by(2).map(str::to_owned).collect();
        let kind = rest.split(", ").nth(1).unwrap().split('(').next().unwrap().to_lowercase();
        let labels = quoted[1..].iter().cloned().collect();
        (constant.to_owned(), Metric { name: quoted[0].clone(), kind, labels })
    };
    lines.map(metric).collect()
}

#[test]
fn the_guide_lists_each_metric_with_its_labels() {
    let guide = std::fs::read_to_string(root().join(GUIDE)).unwrap();
    let rows = guide.lines().skip_while(|line| *line != HEAD).skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let listed: BTreeSet<_> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    let shown = |metric: &Metric| {
        let labels: Vec<_> = metric.labels.iter().cloned().collect();
        if labels.is_empty() { metric.name.clone() } else { format!("{}{{{}}}", metric.name, labels.join(",")) }
    };
    let of_table: BTreeSet<_> = table().values().map(shown).collect();
    assert!(of_table.len() > 30, "{of_table:?}");
    let missing = of_table.difference(&listed).map(|metric| format!("{GUIDE} does not list `{metric}`"));
    let unknown = listed.difference(&of_table).map(|metric| format!("{GUIDE}: there is no metric `{metric}`"));
    none(&missing.chain(unknown).collect::<Vec<_>>());
}

#[test]
fn the_code_emits_each_metric_with_the_kind_and_the_labels_of_the_table() {
    let table = table();
    let (mut problems, mut emitted) = (Vec::new(), BTreeSet::new());
    for file in files_below("runtime", ".rs") {
        if file.with_extension("").iter().any(|part| part == "tests" || part == "suite") {
            continue;
        }
        let source = std::fs::read_to_string(root().join(&file)).unwrap();
        for Emitted { line, constant, kind, labels } in emissions(source.parse().unwrap()) {
            let place = format!("{}:{line}", file.display());
            let Some(metric) = table.get(&constant) else {
                problems.push(format!("{place}: {TABLE} does not have {constant}"));
                continue;
            };
            if metric.kind != kind {
                problems.push(format!("{place}: {constant} is a {}, not a {kind}", metric.kind));
            }
            if labels.is_some_and(|labels| labels != metric.labels) {
                problems.push(format!("{place}: {constant} has the labels {:?}", metric.labels));
            }
            emitted.insert(constant);
        }
    }
    let never = table.keys().filter(|constant| !emitted.contains(*constant));
    problems.extend(never.map(|constant| format!("{TABLE}: no code emits {constant}")));
    none(&problems);
}

/// A call such as `counter!(metric::NAME, "label" => value)`.
struct Emitted {
    line: usize,
    constant: String,
    kind: String,
    /// `None` if the labels are a variable.
    labels: Option<BTreeSet<String>>,
}

fn emissions(stream: TokenStream) -> Vec<Emitted> {
    let tokens: Vec<_> = stream.into_iter().collect();
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else { continue };
        if let [.., TokenTree::Ident(kind), TokenTree::Punct(bang)] = &tokens[..at]
            && bang.as_char() == '!'
            && ["counter", "gauge", "histogram"].contains(&kind.to_string().as_str())
        {
            found.extend(emission(kind.to_string(), group));
        }
        if group.delimiter() != Delimiter::None {
            found.extend(emissions(group.stream()));
        }
    }
    found
}

fn emission(kind: String, arguments: &Group) -> Option<Emitted> {
    let tokens: Vec<_> = arguments.stream().into_iter().collect();
    let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ',');
    let mut parts = tokens.split(is_comma);
    let [TokenTree::Ident(module), .., TokenTree::Ident(constant)] = parts.next()? else { return None };
    // The recorder's own tests take the names from the table.
    if module != "metric" || constant == "name" {
        return None;
    }
    let mut labels = Some(BTreeSet::new());
    for part in parts.filter(|part| !part.is_empty()) {
        match (part, &mut labels) {
            ([TokenTree::Literal(name), ..], Some(labels)) => {
                labels.insert(name.to_string().trim_matches('"').to_owned());
            }
            _ => labels = None,
        }
    }
    Some(Emitted { line: module.span().start().line, constant: constant.to_string(), kind, labels })
}

#[test]
fn emissions_are_found_in_every_form() {
    let source = r#"
        fn f() { if x { metrics::counter!(metric::A, "a" => x.clone(), "b" => "c").increment(1); } }
        gauge!(metric::B).set(f(1, 2));
        metrics::histogram!(metric::C, &labels).record(1.0);
        metrics::counter!(metric.name).increment(1);
    "#;
    let found = emissions(source.parse().unwrap());
    let shown: Vec<_> = found.iter().map(|found| (found.constant.as_str(), found.kind.as_str())).collect();
    assert_eq!(shown, [("A", "counter"), ("B", "gauge"), ("C", "histogram")]);
    let labels: Vec<_> = found.iter().map(|found| found.labels.as_ref().map(BTreeSet::len)).collect();
    assert_eq!(labels, [Some(2), Some(0), None]);
}
