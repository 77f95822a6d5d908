//! What the server says at one moment: its state, its metrics, and the latest failures.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::admin::client::{Client, ClientError};
use crate::admin::model::{Delivery, Health, Origin, Page, Request};

/// The latest failures of each kind that are shown.
const FAILURES: usize = 20;
/// The origins that are shown.
const ORIGINS: usize = 50;
/// The most series of the metrics that are kept. The number of routes of a program has no other bound.
const MAX_SERIES: usize = 20_000;

/// The values of one moment.
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) health: Health,
    /// `None`: the program has a recorder of its own, so the server has no metrics to show.
    pub(super) metrics: Option<Metrics>,
    pub(super) origins: Vec<Origin>,
    pub(super) failed: Vec<Request>,
    pub(super) dead: Vec<Delivery>,
}

impl Sample {
    /// Asks the server.
    pub(super) async fn take(client: &Client) -> Result<Self, ClientError> {
        let health = client.get("/health").await?;
        let metrics = match client.text("/metrics").await {
            Ok(text) => Some(Metrics::parse(&text)),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let origins: Page<Origin> = client.get(&format!("/origins?limit={ORIGINS}")).await?;
        let failed: Page<Request> = client.get(&format!("/requests?status=failed&limit={FAILURES}")).await?;
        let dead: Page<Delivery> = client.get(&format!("/deliveries?status=dead&limit={FAILURES}")).await?;
        Ok(Self { at: Instant::now(), health, metrics, origins: origins.items, failed: failed.items, dead: dead.items })
    }
}

/// Metrics by their name, and then by their labels.
#[derive(Debug, Default)]
pub(super) struct Metrics(BTreeMap<String, Vec<(Labels, f64)>>);

/// The labels of a series.
pub(super) type Labels = Vec<(String, String)>;

impl Metrics {
    /// Reads the text exposition format of Prometheus. Lines that are not in this format are left out.
    pub(super) fn parse(text: &str) -> Self {
        let mut all = BTreeMap::<_, Vec<_>>::new();
        for line in text.lines().filter(|line| !line.starts_with('#')).take(MAX_SERIES) {
            if let Some((name, labels, value)) = series(line) {
                all.entry(name).or_default().push((labels, value));
            }
        }
        Self(all)
    }

    /// Returns the sum of the series of this name that have this label.
    pub(super) fn sum(&self, name: &str, label: Option<(&str, &str)>) -> f64 {
        let all = self.0.get(name).into_iter().flatten();
        let has = |labels: &Labels| {
            label.is_none_or(|(name, value)| labels.iter().any(|(known, of)| known == name && of == value))
        };
        all.filter(|(labels, _)| has(labels)).map(|(_, value)| value).sum()
    }

    /// Returns the sum of the series of this name that have both labels.
    pub(super) fn sum_of(&self, name: &str, labels: [(&str, &str); 2]) -> f64 {
        let all = self.0.get(name).into_iter().flatten();
        let has = |of: &Labels| labels.iter().all(|(name, value)| of.iter().any(|(n, v)| n == name && v == value));
        all.filter(|(of, _)| has(of)).map(|(_, value)| value).sum()
    }

    /// Returns the values that a label has in the series of this name.
    pub(super) fn values<'m>(&'m self, name: &str, label: &'m str) -> impl Iterator<Item = &'m str> {
        let all = self.0.get(name).into_iter().flatten().flat_map(|(labels, _)| labels);
        all.filter(move |(known, _)| known == label).map(|(_, value)| value.as_str())
    }
}

/// Reads a line such as `name{label="value"} 1.5`.
fn series(line: &str) -> Option<(String, Labels, f64)> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let (labels, value) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Labels::new(), rest),
    };
    Some((name.to_owned(), labels, value.split_whitespace().next()?.parse().ok()?))
}

/// Reads the labels up to the closing brace. Returns them and what follows.
fn labels(mut rest: &str) -> Option<(Labels, &str)> {
    let mut labels = Labels::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (mut value, mut escaped, mut end) = (String::new(), false, None);
        for (at, c) in quoted.char_indices() {
            match (escaped, c) {
                (true, 'n') => value.push('\n'),
                (false, '\\') => {}
                (false, '"') => {
                    end = Some(at);
                    break;
                }
                (_, other) => value.push(other),
            }
            escaped = !escaped && c == '\\';
        }
        rest = &quoted[end? + 1..];
        labels.push((name.to_owned(), value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_with_their_labels() {
        let text = "# HELP a_total text\n# TYPE a_total counter\na_total{route=\"/a\",status=\"failed\"} 3\n\
                    a_total{route=\"/a\",status=\"completed\"} 4\na_total{route=\"/b \\\"}\\\\\"} 1\nb 1.5e3\nnot a metric\nc{x=\"\n";
        let metrics = Metrics::parse(text);
        assert_eq!((metrics.sum("a_total", None), metrics.sum("a_total", Some(("route", "/a")))), (8.0, 7.0));
        let failed = metrics.sum_of("a_total", [("route", "/a"), ("status", "failed")]);
        assert_eq!((failed, metrics.sum("missing", None)), (3.0, 0.0));
        assert_eq!((metrics.sum("b", None), metrics.sum("c", None), metrics.sum("not", None)), (1_500.0, 0.0, 0.0));
        let routes: Vec<_> = metrics.values("a_total", "route").collect();
        assert_eq!(routes, ["/a", "/a", "/b \"}\\"]);
    }
}
