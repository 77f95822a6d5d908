//! Tests which settings result from a file, variables and flags, and which messages mistakes get.

use postback_wire::line::Causes;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::tree::{Node, Value};
use super::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ED25519: &str = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg==";

/// Makes sources from the text of a settings file, from variables and from flags. The text is written to a file in a
/// temporary folder.
fn sources(file: &str, env: &[(&str, &str)], flags: &[(&str, &str, &str)]) -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p.toml");
    std::fs::write(&path, file).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let env = env.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let flags = flags.iter().map(|(key, text, flag)| (key.to_string(), text.to_string(), flag.to_string())).collect();
    (folder, Sources { program: "postback".to_owned(), file: Some(path), text: None, flags, env })
}

fn load(sources: Sources) -> Result<Settings, Errors> {
    super::load(sources, |_| None)
}

fn loaded(file: &str, env: &[(&str, &str)], flags: &[(&str, &str, &str)]) -> Settings {
    let (_folder, sources) = sources(file, env, flags);
    load(sources).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Loads settings that have mistakes, and returns the messages about all mistakes. The name of the folder is removed
/// from the messages.
fn refused(file: &str, env: &[(&str, &str)], flags: &[(&str, &str, &str)]) -> Vec<String> {
    let (folder, sources) = sources(file, env, flags);
    let folder = format!("{}/", folder.path().display());
    load(sources).unwrap_err().iter().map(|error| Causes(error).to_string().replace(&folder, "")).collect()
}

fn config<S: serde::de::DeserializeOwned>(file: &str, env: &[(&str, &str)]) -> Result<S, String> {
    let (folder, sources) = sources(file, env, &[]);
    let folder = format!("{}/", folder.path().display());
    load(sources).unwrap().config.deserialize().map_err(|error| Causes(&error).to_string().replace(&folder, ""))
}

/// Collects the dotted keys of a document, including the keys of tables in lists.
fn keys(node: &Node, path: &str, into: &mut BTreeSet<String>) {
    match &node.value {
        Value::Table(table) => {
            for (key, node) in table {
                let key = if key.starts_with('/') { "\"/path\"" } else { key };
                let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                if path.contains('.') || matches!(node.value, Value::Array(_)) {
                    into.insert(path.clone());
                }
                keys(node, &path, into);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, path, into)),
        _ => {}
    }
}

fn keys_of(document: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    keys(&tree::from_document(document, "x".as_ref()).unwrap_or_else(|e| panic!("{e}")), "", &mut found);
    found.into_iter().filter(|key| !key.starts_with("config.")).collect()
}

#[cfg(feature = "sqlite")]
mod documents;
mod telemetry;

#[test]
#[cfg(not(feature = "sqlite"))]
fn a_store_that_is_not_built_in_names_its_feature() {
    let message = refused("", &[], &[]).join("\n");
    assert!(message.starts_with("store.url (built in)") && message.contains("feature `sqlite`"), "{message}");
    loaded("store.url = 'memory:'", &[], &[]);
}

/// The variable that selects the memory store, so that a test does not need the feature `sqlite`.
const MEMORY: (&str, &str) = ("POSTBACK_STORE__URL", "memory:");

#[test]
fn flags_win_over_variables_and_these_over_the_file() {
    let listen = |env: &[(&str, &str)], flags: &[(&str, &str, &str)]| {
        let env: Vec<_> = env.iter().copied().chain([MEMORY]).collect();
        loaded("server.listen = '127.0.0.1:1'", &env, flags).server.listen.port()
    };
    let variable = ("POSTBACK_SERVER__LISTEN", "127.0.0.1:2");
    assert_eq!(listen(&[], &[]), 1);
    assert_eq!(listen(&[variable], &[]), 2);
    assert_eq!(listen(&[variable], &[("server.listen", "127.0.0.1:3", "--listen")]), 3);
}

#[test]
fn variables_of_container_platforms_are_no_settings() {
    let env = [
        ("POSTBACK_PORT", "tcp://10.0.0.1:8080"),
        ("POSTBACK_SERVICE_HOST", "10.0.0.1"),
        ("POSTBACK_PORT_8080_TCP_PROTO", "tcp"),
        ("POSTBACK", "x"),
        ("OTHER_SERVER__LISTEN", "x"),
        MEMORY,
    ];
    loaded("", &env, &[]);
}

#[test]
fn a_variable_that_is_nearly_a_key_is_ignored_with_a_warning() {
    let env = [
        ("POSTBACK_SERVER_LISTEN", "s3cret"),
        ("POSTBACK_DELIVRY_SECRETS", "s3cret"),
        ("POSTBACK_CONFIG_WEBHOOK_URL", "s3cret"),
        ("POSTBACK_DISABLED", "1"),
        ("POSTBACK_PORT", "tcp://10.0.0.1:8080"),
        ("POSTBACK_SERVER_PORT", "tcp://10.0.0.1:8080"),
        ("POSTBACK_STORE_SERVICE_HOST", "10.0.0.1"),
        ("POSTBACK_PORT_8080_TCP_ADDR", "10.0.0.1"),
        MEMORY,
    ];
    let warnings = loaded("", &env, &[]).warnings;
    let meant = |name: &str| warnings.iter().any(|warning| warning.contains(&format!("did you mean {name},")));
    assert!(meant("POSTBACK_SERVER__LISTEN") && meant("POSTBACK_DELIVERY__SECRETS"), "{warnings:?}");
    assert!(meant("POSTBACK_CONFIG__WEBHOOK_URL") && warnings.len() == 3, "{warnings:?}");
    assert!(!warnings.join("").contains("s3cret"));
}

#[cfg(unix)]
#[test]
fn a_file_with_secrets_that_all_can_read_is_told() {
    use std::os::unix::fs::PermissionsExt as _;
    let warnings = |file: &str, mode: u32| {
        let (_folder, sources) = sources(file, &[MEMORY], &[]);
        let path = sources.file.clone().unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        load(sources).unwrap().warnings
    };
    let signing = format!("delivery.secrets = ['{SECRET}']");
    let message = warnings(&signing, 0o644);
    assert!(message.len() == 1 && message[0].contains("chmod 600") && !message[0].contains(SECRET), "{message:?}");
    assert_eq!(warnings("config.db_password = 'x'", 0o604).len(), 1);
    for (file, mode) in [(signing.as_str(), 0o640), ("config.webhook_url = 'x'", 0o644), ("", 0o644)] {
        assert!(warnings(file, mode).is_empty(), "{file} {mode:o}");
    }
}

#[test]
fn an_hmac_secret_for_several_receivers_is_told() {
    let warnings = |secret: &str, own: &str| {
        let file = format!(
            "config.webhook_url = 'https://a.example/in'\ndelivery.secrets = ['{secret}']\n\
             [[delivery.endpoint]]\nurl = 'https://b.example/in'\n{own}"
        );
        loaded(&file, &[MEMORY], &[])
            .warnings
            .into_iter()
            .filter(|message| !message.contains("chmod"))
            .collect::<Vec<_>>()
    };
    let message = warnings(SECRET, "");
    assert!(message.len() == 1 && message[0].starts_with("https://a.example, https://b.example verify"), "{message:?}");
    assert!(!message[0].contains(SECRET));
    assert!(warnings(ED25519, "").is_empty());
    assert!(warnings(SECRET, &format!("secrets = ['{ED25519}']")).is_empty());
}

#[test]
fn an_endpoint_is_private_if_it_says_so_or_is_the_configs_own() {
    let private = |own: &str, url: &str| {
        let file = format!("config.webhook_url = 'http://10.0.0.1/in'\n[[delivery.endpoint]]\nurl = '{url}'\n{own}");
        let settings = loaded(&file, &[MEMORY], &[]);
        settings.destinations().find(&Url::parse(url).unwrap()).unwrap().private
    };
    let (of_config, other) = ("http://10.0.0.1/in", "http://10.0.0.2/in");
    assert_eq!((private("", of_config), private("", other)), (true, false));
    for message in [true, false] {
        let own = format!("private = {message}");
        assert_eq!((private(&own, of_config), private(&own, other)), (message, message));
    }
}

#[test]
fn mistakes_in_config_are_told_with_the_others() {
    #[derive(Debug, Deserialize)]
    struct Own {
        #[expect(dead_code, reason = "read by nobody")]
        count: u8,
    }
    let (_folder, sources) = sources("store.url = 'memory:'\n[config]\ncount = 'x'\n[sever]\n", &[], &[]);
    let errors = super::load(sources, |user| user.deserialize::<Own>().err()).unwrap_err();
    let message: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(message.len(), 2, "{message:?}");
    assert!(message[1].contains("config.count") && message[1].contains("a whole number from 0 to 255"), "{message:?}");
}

#[test]
fn an_unknown_key_is_told_with_the_nearest_known_one_and_its_place() {
    let message = refused(
        "store.url = 'memory:'\n[server]\nlisen = 1\n[sever]\nlisten = 1\n\
         [[delivery.endpoint]]\nurl = 'http://a/'\nsecret = 1",
        &[("POSTBACK_WORKER__TIME_OUT", "s3cret"), ("POSTBACK_SERVER__CONCURRENCY", "3"), ("POSTBACK___X", "y")],
        &[("log.levle", "info", "--log")],
    );
    let expected = [
        "unknown key server.concurrency (environment variable POSTBACK_SERVER__CONCURRENCY); \
         did you mean worker.concurrency?",
        "unknown key server.lisen (p.toml:3); did you mean server.listen?",
        "unknown key worker.time_out (environment variable POSTBACK_WORKER__TIME_OUT); did you mean worker.timeout?",
        "unknown key delivery.endpoint[0].secret (p.toml:8); did you mean delivery.endpoint.secrets?",
        "unknown key log.levle (flag --log); did you mean log.level?",
        "unknown key  (environment variable POSTBACK___X); \
         known keys: server, store, results, worker, route, forward, delivery, log, telemetry, shutdown, config",
        "unknown key sever (p.toml:4); did you mean server?",
    ];
    assert_eq!(message, expected);
}

#[test]
fn all_mistakes_are_told_together_and_no_value_is() {
    let file = r#"
[server]
listen = "s3cret"
max_payload = true
[store]
url = "memory:"
durability = "s3cret"
retention = "0s"
[worker]
concurrency = 0
threads = 99999
timeout = 7
max_attempts = -1
max_crashes = 1.5
[delivery]
secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "s3cret"]
schedule = []
timeout = "s3cret"
concurrency = "s3cret"
allow_networks = ["10.0.0.0/8", "s3cret"]
ca_file = 3
[[delivery.endpoint]]
secrets = "s3cret"
[[delivery.endpoint]]
url = "ftp://s3cret"
[log]
level = "s3cret"
format = "s3cret"
[shutdown]
grace = "2h"
"#;
    let message = refused(file, &[("RUST_LOG", "a=s3cret")], &[]);
    let expected = [
        r#"server.listen (p.toml:3): expected an IP address and a port, such as "127.0.0.1:8080""#,
        r#"server.max_payload (p.toml:4): expected a size from 1 B to 512.0 MiB, such as "10MiB""#,
        r#"store.durability (p.toml:7): expected "full" or "normal""#,
        r#"store.retention (p.toml:8): expected a duration from 1s to 10years, such as "15s""#,
        "worker.concurrency (p.toml:10): expected a whole number from 1 to 65536",
        "worker.threads (p.toml:11): expected a whole number from 1 to 1024",
        r#"worker.timeout (p.toml:12): expected a duration from 1ms to 30days, such as "15s""#,
        "worker.max_attempts (p.toml:13): expected a whole number from 1 to 1000",
        "worker.max_crashes (p.toml:14): expected a whole number from 1 to 1000",
        "delivery.secrets[1] (p.toml:16) cannot be used: \
         a signing secret starts with `whsec_` (HMAC-SHA256) or `whsk_` (Ed25519)",
        r#"delivery.schedule (p.toml:17): expected a list of 1 to 100 durations such as "5s", one for each attempt; the first must be "0s""#,
        r#"delivery.timeout (p.toml:18): expected a duration from 1ms to 1h, such as "15s""#,
        "delivery.concurrency (p.toml:19): expected a whole number from 1 to 65536",
        r#"delivery.allow_networks[1] (p.toml:20): expected a network such as "10.1.0.0/16""#,
        "delivery.ca_file (p.toml:21): expected the path of a file",
        "delivery.endpoint[0].secrets (p.toml:23): expected a list of signing secrets",
        "delivery.endpoint[0].url is not set",
        "delivery.endpoint[1].url (p.toml:25) cannot be used: the webhook URL has the scheme `ftp`; use http or https",
        r#"log.level (p.toml:27): expected off, error, warn, info, debug or trace, or directives such as "info,hyper=debug""#,
        r#"log.format (p.toml:28): expected "auto" or "text" or "json""#,
        r#"RUST_LOG (environment variable RUST_LOG): expected directives such as "info,hyper=debug""#,
        r#"shutdown.grace (p.toml:30): expected a duration from 0s to 1h, such as "15s""#,
    ];
    assert_eq!(message, expected);
}

#[test]
fn bad_toml_is_placed_but_not_quoted() {
    for (file, place) in [
        ("[server]\nlisten = s3cret", "p.toml:2:10"),
        ("token = \"s3cret", "p.toml:1"),
        ("s3cret", "p.toml:1"),
        ("a = 's3cret'\na = 's3cret'", "p.toml:2:1"),
        ("a = 2020-99-99T00:00:00s3cret", "p.toml:1:5"),
        ("\u{1b}[31ms3cret", "p.toml:1"),
        ("a = \"\\s3cret\"", "p.toml:1"),
    ] {
        let message = refused(file, &[], &[]).join("\n");
        assert!(message.starts_with(place) && message.contains("not valid TOML"), "{file:?}: {message}");
        assert!(!message.contains("s3cret") && !message.contains('\u{1b}'), "{message}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let sources = |file: PathBuf| Sources {
        program: "postback".to_owned(),
        file: Some(file),
        text: None,
        flags: vec![],
        env: vec![],
    };
    let folder = tempfile::tempdir().unwrap();
    let message = load(sources(folder.path().join("none.toml"))).unwrap_err().to_string();
    assert!(message.contains("none.toml cannot be read: "), "{message}");
    let message = load(sources(folder.path().to_owned())).unwrap_err().to_string();
    assert!(message.contains("cannot be read: "), "{message}");
    let path = folder.path().join("latin.toml");
    std::fs::write(&path, b"a = '\xe4'").unwrap();
    let message = load(sources(path)).unwrap_err().to_string();
    assert!(message.contains("latin.toml is not UTF-8 text"), "{message}");
}

#[test]
fn no_file_is_needed() {
    let env = vec![(MEMORY.0.into(), MEMORY.1.into())];
    let settings =
        load(Sources { program: "postback".to_owned(), file: None, text: None, flags: vec![], env }).unwrap();
    assert_eq!(settings.file, None);
}

#[test]
#[cfg(unix)]
fn variables_that_are_no_text_are_named() {
    use std::os::unix::ffi::OsStringExt as _;
    let bytes = || std::ffi::OsString::from_vec(b"s3cret\xff".to_vec());
    let env = vec![
        ("POSTBACK_SERVER__LISTEN".into(), bytes()),
        ("POSTBACK_PORT".into(), bytes()),
        ("RUST_LOG".into(), bytes()),
        ("PATH".into(), bytes()),
    ];
    let message = load(Sources { program: "postback".to_owned(), file: None, text: None, flags: vec![], env })
        .unwrap_err()
        .to_string();
    assert!(message.starts_with("2 mistakes in the settings:\n"), "{message}");
    assert!(message.contains("\n  the environment variable POSTBACK_SERVER__LISTEN is not UTF-8 text"), "{message}");
    assert!(message.contains("variable RUST_LOG is not") && !message.contains("s3cret"), "{message}");
}

#[test]
fn rust_log_wins() {
    let level = |env: &[(&str, &str)]| {
        let env: Vec<_> = env.iter().copied().chain([MEMORY]).collect();
        loaded("log.level = 'warn'", &env, &[]).log.level
    };
    assert_eq!(level(&[]), "warn");
    assert_eq!(level(&[("RUST_LOG", "hyper")]), "hyper");
    assert_eq!(level(&[("RUST_LOG", "")]), "warn");
}

#[test]
fn an_empty_variable_takes_back_what_is_optional() {
    let env = [MEMORY, ("POSTBACK_WORKER__THREADS", ""), ("POSTBACK_DELIVERY__SECRETS", "")];
    let settings = loaded(&format!("worker.threads = 3\ndelivery.secrets = ['{SECRET}']"), &env, &[]);
    assert_eq!((settings.worker.threads, settings.delivery.secrets.len()), (None, 0));
}

#[test]
fn a_key_set_as_a_whole_and_in_part_is_a_mistake() {
    let env = [MEMORY, ("POSTBACK_CONFIG__LIMITS", "{ max = 1 }"), ("POSTBACK_CONFIG__LIMITS__MIN", "2")];
    let message = refused("", &env, &[]).join("\n");
    assert!(
        message.starts_with("config.limits is set as a whole (environment variable POSTBACK_CONFIG__LIMITS)"),
        "{message}"
    );
}

mod config_table;
