//! Tests of the keys of `[telemetry]`.

use super::*;
use crate::settings::telemetry_keys;

#[test]
fn traces_go_where_the_keys_say_and_else_where_the_variables_of_opentelemetry_say() {
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://platform:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=1,b=x%20y"),
        ("OTEL_SERVICE_NAME", "of-platform"),
    ];
    let traces = |file: &str, env: &[(&str, &str)]| loaded(file, env, &[]).traces;
    assert!(traces("", &[]).is_none());
    let of_platform = traces("", &env).unwrap();
    assert_eq!(
        (of_platform.endpoint.as_str(), of_platform.service_name.as_str()),
        ("http://platform:4318/", "of-platform")
    );
    let headers: Vec<_> =
        of_platform.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
    assert_eq!(headers, [("a", "1"), ("b", "x y")]);
    let own = traces("[telemetry]\notlp_endpoint = 'https://own/'\nservice_name = 'own'\nsample = 0", &env).unwrap();
    assert_eq!((own.endpoint.as_str(), own.service_name.as_str(), own.sample), ("https://own/", "own", 0.0));
    assert!(traces("", &[env[0], ("OTEL_SDK_DISABLED", "true")]).is_none());
    assert_eq!(traces("", &[env[0]]).unwrap().service_name, "postback", "the name of the program");
}

#[test]
fn what_is_wrong_is_said_without_the_value() {
    for (file, says) in [
        ("otlp_endpoint = 'ftp://s3cret'", "the http or https URL of a collector"),
        ("otlp_endpoint = 'http://user:s3cret@host'", "without user"),
        ("otlp_headers = 's3cret'", "headers such as"),
        ("otlp_headers = 'a b=s3cret'", "headers such as"),
        ("otlp_headers_file = 's3cret'", "the file that holds the headers cannot be read"),
        ("sample = 1.5", "a number from 0 to 1"),
        ("service_name = \"\\u0007\"", "a name of 1 to 200 characters"),
    ] {
        let message = refused(&format!("[telemetry]\n{file}\n"), &[], &[]).join("\n");
        assert!(message.contains(says) && !message.contains("s3cret"), "{file}: {message}");
    }
    let message = refused("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "s3cret")], &[]).join("\n");
    assert!(message.starts_with("OTEL_EXPORTER_OTLP_ENDPOINT") && !message.contains("s3cret"), "{message}");
}

#[test]
fn a_program_without_the_feature_says_which_it_needs() {
    let table = tree::from_document("otlp_endpoint = 'http://a/'", std::path::Path::new("p.toml")).unwrap();
    let mut errors = Vec::new();
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT".into(), "http://platform:4318".into())];
    let section = section::Section::new("telemetry".to_owned(), Some(table), &mut errors);
    assert!(telemetry_keys::traces(section, &env, ("app", None), false).is_none());
    let message: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert!(message.len() == 1 && message[0].contains("feature `otlp`"), "{message:?}");
    // The variables of the platform are for all its programs, so they are no mistake.
    let mut errors = Vec::new();
    let section = section::Section::new("telemetry".to_owned(), None, &mut errors);
    assert!(telemetry_keys::traces(section, &env, ("app", None), false).is_none() && errors.is_empty());
}
