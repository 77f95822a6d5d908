//! Checks what helps operators to watch a server: the alert rules and the dashboard in `docs/watching` name only metrics
//! and labels that exist, each alert has its section in the guide, and the guide lists the targets of the log.

use std::collections::{BTreeMap, BTreeSet};

use crate::metrics::{Metric, table};
use crate::{files_below, none, root};

const ALERTS: &str = "docs/watching/alerts.yml";
const DASHBOARD: &str = "docs/watching/grafana.json";
const GUIDE: &str = "runtime/docs/guide/watching.md";
/// Labels that Prometheus itself adds, or that a query may name although no metric of the table has them.
const OF_PROMETHEUS: [&str; 3] = ["job", "instance", "le"];

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The metrics as a query names them: a histogram has three names.
fn series() -> BTreeMap<String, BTreeSet<String>> {
    let names = |Metric { name, kind, labels }: Metric| {
        let endings: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        endings.iter().map(move |ending| (format!("{name}{ending}"), labels.clone())).collect::<Vec<_>>()
    };
    table().into_values().flat_map(names).collect()
}

/// The expressions of the alert rules, each with the name of its alert.
fn alerts() -> Vec<(String, String)> {
    let text = read(ALERTS);
    let after = |start: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.trim().strip_prefix(start)).map(str::to_owned).collect()
    };
    let (names, expressions) = (after("- alert: "), after("expr: "));
    assert_eq!(names.len(), expressions.len());
    names.into_iter().zip(expressions.iter().map(|quoted| quoted.trim_matches('\'').replace("''", "'"))).collect()
}

/// The queries of the dashboard, each with the title of its panel.
fn queries() -> Vec<(String, String)> {
    let dashboard: serde_json::Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push((panel["title"].to_string(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for annotation in dashboard["annotations"]["list"].as_array().unwrap() {
        queries.push((annotation["name"].to_string(), annotation["expr"].as_str().unwrap().to_owned()));
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap().iter().filter(|v| v["type"] == "query") {
        queries.push((variable["name"].to_string(), variable["query"].as_str().unwrap().to_owned()));
    }
    queries
}

/// What is wrong with the metrics and the labels of one query.
fn problems(query: &str, series: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut problems = Vec::new();
    let (mut labels, mut used) = (BTreeSet::new(), BTreeSet::new());
    for (at, _) in query.match_indices("postback_") {
        if query[..at].ends_with(is_word) {
            continue;
        }
        let rest = &query[at..];
        let name = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
        let Some(of_metric) = series.get(name) else {
            problems.push(format!("there is no metric {name}"));
            continue;
        };
        labels.extend(of_metric.clone());
        let selector = rest[name.len()..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
        for part in selector.map(|(inside, _)| inside).into_iter().flat_map(|inside| inside.split(',')) {
            let label = part.split(['=', '!', '~']).next().unwrap().trim();
            if !of_metric.contains(label) && !OF_PROMETHEUS.contains(&label) {
                problems.push(format!("{name} has no label {label}"));
            }
        }
    }
    for (word, _) in ["by (", "on ("].iter().flat_map(|word| query.match_indices(word)) {
        let at = word;
        let list = query[at..].split_once('(').and_then(|(_, rest)| rest.split_once(')')).unwrap().0;
        used.extend(list.split(',').map(|label| label.trim().to_owned()));
    }
    let unknown = used.iter().filter(|label| !labels.contains(*label) && !OF_PROMETHEUS.contains(&label.as_str()));
    problems.extend(unknown.map(|label| format!("no metric of the query has the label {label}")));
    problems
}

#[test]
fn alerts_and_dashboard_name_only_metrics_and_labels_that_exist() {
    let series = series();
    let (alerts, queries) = (alerts(), queries());
    assert!(alerts.len() > 10 && queries.len() > 20, "{} alerts, {} queries", alerts.len(), queries.len());
    let of = |path: &str, list: Vec<(String, String)>| -> Vec<String> {
        let one = |(name, query): (String, String)| {
            problems(&query, &series).into_iter().map(move |problem| format!("{name}: {problem}")).collect::<Vec<_>>()
        };
        list.into_iter().flat_map(one).map(|problem| format!("{path}: {problem}")).collect()
    };
    let mut all = of(ALERTS, alerts);
    all.extend(of(DASHBOARD, queries));
    none(&all);
}

#[test]
fn a_wrong_metric_and_a_wrong_label_are_found() {
    let series = series();
    let found = |query| problems(query, &series).join("; ");
    assert_eq!(found("sum by (route) (rate(postback_requests_accepted_total{route=\"/a\",job=\"x\"}[5m]))"), "");
    assert_eq!(found("postback_nothing > 0"), "there is no metric postback_nothing");
    assert_eq!(found("postback_reports_held{route=\"/a\"}"), "postback_reports_held has no label route");
    assert_eq!(found("sum by (route) (postback_reports_held)"), "no metric of the query has the label route");
    assert_eq!(found("postback_run_duration_seconds"), "there is no metric postback_run_duration_seconds");
}

#[test]
fn each_alert_links_to_its_section_of_the_guide_and_has_a_test() {
    let (text, guide, tests) = (read(ALERTS), read(GUIDE), read("docs/watching/alerts.test.yml"));
    let sections: BTreeSet<_> = guide.lines().filter_map(|line| line.strip_prefix("# Postback")).collect();
    let mut problems = Vec::new();
    let alerts: Vec<_> = alerts().into_iter().map(|(name, _)| name).collect();
    for name in &alerts {
        let short = name.strip_prefix("Postback").unwrap_or_default();
        if !sections.contains(short) {
            problems.push(format!("{GUIDE} has no section {name}"));
        }
        if !text.contains(&format!("guide/watching/index.html#{}\n", name.to_lowercase())) {
            problems.push(format!("{ALERTS}: {name} has no link to its section"));
        }
        if !tests.contains(&format!("alertname=\"{name}\"")) {
            problems.push(format!("no test of the rules sees {name} fire"));
        }
    }
    let known: BTreeSet<_> = alerts.iter().filter_map(|name| name.strip_prefix("Postback")).collect();
    problems.extend(sections.difference(&known).map(|name| format!("{GUIDE}: there is no alert Postback{name}")));
    none(&problems);
}

#[test]
fn the_guide_lists_the_targets_of_the_log() {
    let guide = read(GUIDE);
    let rows = guide.lines().skip_while(|line| !line.starts_with("| target |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|')).filter_map(|row| row.split('`').nth(1));
    let listed: BTreeSet<_> = rows.map(str::to_owned).collect();
    // Both are named explicitly, in `names.rs`.
    let mut used = BTreeSet::from(["postback::panic".to_owned(), "postback::run".to_owned()]);
    const EMITS: [&str; 7] = [
        "tracing::error!",
        "tracing::warn!",
        "tracing::info!",
        "tracing::debug!",
        "tracing::trace!",
        "warn_unless_logged!(",
        "attempt_event!(",
    ];
    for file in files_below("runtime", ".rs") {
        let parts: Vec<_> = file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let source = read(file.to_str().unwrap());
        if parts.iter().any(|part| part == "tests" || part == "suite")
            || !EMITS.iter().any(|emit| source.contains(emit))
        {
            continue;
        }
        used.insert(match parts[1].as_str() {
            "src" => format!("postback::{}", parts[2]),
            package => format!("postback_{package}"),
        });
    }
    let missing = used.difference(&listed).map(|target| format!("{GUIDE} does not list the target {target}"));
    let unknown = listed.difference(&used).map(|target| format!("{GUIDE}: nothing is logged with the target {target}"));
    none(&missing.chain(unknown).collect::<Vec<_>>());
}
