//! Checks the keys of `[telemetry]`: where the traces of the server go. OpenTelemetry's own variables of the environment
//! stand for keys that are not set, because platforms set them for all their programs.

use std::ffi::OsString;
use std::io::Read as _;
use std::path::PathBuf;

use http::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use url::Url;

use super::mismatch::{Mismatch, expected, refused};
use super::read;
use super::section::Section;
use super::tree::Node;
use crate::telemetry::Traces;

/// The largest file that holds headers, in bytes.
const MAX_FILE: u64 = 64 << 10;
/// The most headers for the collector.
const MAX_HEADERS: usize = 32;
/// The number of characters of the name of a service.
const MAX_NAME: usize = 200;

const ENDPOINT: &str =
    "the http or https URL of a collector, such as \"http://127.0.0.1:4318\", without user, `?` and `#`";
const HEADERS: &str = "headers such as \"api-key=…,x-team=…\", with % before what is not plain, at most 32 of them";
const NO_FEATURE: &str = "no value: traces need the feature `otlp` of postback, and this program was built without it";

const OTEL_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const OTEL_HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
const OTEL_NAME: &str = "OTEL_SERVICE_NAME";
const OTEL_DISABLED: &str = "OTEL_SDK_DISABLED";

/// Reads the keys. Returns `None` if no collector is named. `can_export` says whether this build can export traces.
pub(super) fn traces(
    mut section: Section<'_>,
    env: &[(OsString, OsString)],
    (program, ca_file): (&str, Option<PathBuf>),
    can_export: bool,
) -> Option<Traces> {
    let (endpoint, set_by) = section
        .take_with_place("otlp_endpoint", None, |node| read::optional(node, |node| read::checked(node, ENDPOINT, url)));
    let headers =
        section.take("otlp_headers", None, |node| read::optional(node, |node| read::checked(node, HEADERS, headers)));
    let of_file = section.take("otlp_headers_file", None, |node| read::optional(node, file));
    let name = section.take("service_name", None, |node| {
        read::optional(node, |node| read::parsed(node, "a name of 1 to 200 characters", service_name))
    });
    let sample = section.take("sample", 1.0, read::share);
    let endpoint = if can_export {
        endpoint.or_else(|| of_variable(&mut section, env, OTEL_ENDPOINT, url))
    } else {
        if endpoint.is_some() {
            section.refuse("otlp_endpoint", &set_by, expected(NO_FEATURE));
        }
        None
    };
    let endpoint = endpoint.filter(|_| variable(env, OTEL_DISABLED) != Some("true"));
    let traces = endpoint.map(|endpoint| {
        let (of_file, headers_file) = of_file.unzip();
        let mut all = of_file.unwrap_or_default();
        let own = headers.or_else(|| of_variable(&mut section, env, OTEL_HEADERS, self::headers));
        all.extend(own.unwrap_or_default());
        let name = name.or_else(|| variable(env, OTEL_NAME).and_then(service_name));
        let service_name = name.unwrap_or_else(|| program.to_owned());
        Traces { endpoint, headers: all, headers_file, service_name, sample, ca_file }
    });
    section.finish();
    traces
}

/// Returns the value of a variable that is set, and not empty.
fn variable<'e>(env: &'e [(OsString, OsString)], name: &str) -> Option<&'e str> {
    let (_, value) = env.iter().find(|(known, _)| known == name)?;
    value.to_str().map(str::trim).filter(|value| !value.is_empty())
}

/// Reads a variable of OpenTelemetry, and refuses a wrong value as that of a key.
fn of_variable<T>(
    section: &mut Section<'_>,
    env: &[(OsString, OsString)],
    name: &str,
    read: impl FnOnce(&str) -> Result<T, Mismatch>,
) -> Option<T> {
    let value = read(variable(env, name)?);
    value.map_err(|mismatch| section.refuse_variable(name, mismatch)).ok()
}

fn url(text: &str) -> Result<Url, Mismatch> {
    let url = Url::parse(text.trim()).map_err(|_| expected(ENDPOINT))?;
    let is_plain =
        url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    let is_http = matches!(url.scheme(), "http" | "https") && url.host_str().is_some();
    if is_http && is_plain { Ok(url) } else { Err(expected(ENDPOINT)) }
}

fn service_name(text: &str) -> Option<String> {
    let text = text.trim();
    let is_name = !text.is_empty() && text.chars().count() <= MAX_NAME && !text.chars().any(char::is_control);
    is_name.then(|| text.to_owned())
}

/// Reads headers in the form of OpenTelemetry's variable: `name=value`, separated by commas.
fn headers(text: &str) -> Result<Vec<(HeaderName, HeaderValue)>, Mismatch> {
    parse_headers(text.split(',')).ok_or_else(|| expected(HEADERS))
}

/// Reads a file with a header on each line.
fn file(node: Node) -> Result<(Vec<(HeaderName, HeaderValue)>, PathBuf), Mismatch> {
    let wanted = "the path of a file with a header such as \"api-key=…\" on each line";
    let path = read::parsed(node, wanted, |text| Some(PathBuf::from(text)))?;
    let mut text = String::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text));
    read.map_err(|error| refused(Unreadable(error)))?;
    let headers = parse_headers(text.lines()).ok_or_else(|| expected(wanted))?;
    Ok((headers, path))
}

/// The error of a file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the file that holds the headers cannot be read")]
struct Unreadable(#[source] std::io::Error);

fn parse_headers<'t>(parts: impl Iterator<Item = &'t str>) -> Option<Vec<(HeaderName, HeaderValue)>> {
    let parts = parts.map(str::trim).filter(|part| !part.is_empty());
    let header = |part: &str| {
        let (name, value) = part.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let mut value = HeaderValue::try_from(&*value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::try_from(name.trim()).ok()?, value))
    };
    let headers: Option<Vec<_>> = parts.map(header).collect();
    headers.filter(|headers| headers.len() <= MAX_HEADERS)
}
