//! Warnings about settings that are allowed, but are probably a mistake.

use std::ffi::OsString;
use std::path::Path;

use super::set_by::SetBy;
use super::tree::{Node, Value};
use super::variables::{PREFIX, SEPARATOR, is_key, variable};
use postback_wire::line::Escaped;

/// The name of an environment variable that is not a setting, although the name begins with `POSTBACK_`. The variable
/// turns off the reports of programs that have no server.
const DISABLED: &str = "POSTBACK_DISABLED";

/// Returns warnings about environment variables whose names have `_` instead of `__`, such as `POSTBACK_SERVER_LISTEN`,
/// but are otherwise similar to the names of settings. Such a variable is ignored without an error, because container
/// platforms also set variables that begin with `POSTBACK_`, such as `POSTBACK_PORT`.
pub(super) fn ignored_variables(env: &[(OsString, OsString)], known: &[&str]) -> Vec<String> {
    let names = env.iter().filter_map(|(name, _)| name.to_str());
    let ignored = names.filter(|name| name.starts_with(PREFIX) && !is_key(name) && *name != DISABLED);
    let meant = ignored.filter_map(|name| {
        let variables = known.iter().map(|key| variable(key));
        let near = variables.filter(|variable| {
            let single = variable.replace(SEPARATOR, "_");
            // Container platforms set variables with short names, which are similar to many keys. These variables must
            // cause no warning. So a similar name causes a warning only if the name is long. A name that is equal to
            // the name of a setting, except for `_` instead of `__`, always causes a warning.
            name == single || (name.len() > PREFIX.len() + 8 && strsim::damerau_levenshtein(name, &single) <= 2)
        });
        let nearest = near.min_by_key(|variable| strsim::damerau_levenshtein(name, variable))?;
        Some(format!(
            "the environment variable {} is ignored; did you mean {nearest}, with two underscores after the section?",
            Escaped(name)
        ))
    });
    meant.collect()
}

/// Returns a warning if the settings file contains secrets and every user of the machine can read the file.
pub(super) fn readable_file(path: &Path, root: &Node) -> Option<String> {
    (has_secrets_of_file(root) && is_readable_by_all(path)).then(|| {
        let path = Escaped(&path.to_string_lossy()).to_string();
        format!(
            "every user of this machine can read {path}, which contains secrets; restrict it with `chmod 600 {path}`"
        )
    })
}

/// Whether the settings file sets a key whose name shows that the value of the key is a secret, such as `secrets`.
fn has_secrets_of_file(node: &Node) -> bool {
    let is_set = |node: &Node| {
        let is_empty = match &node.value {
            Value::Text(text) | Value::String(text) => text.is_empty(),
            // The keys of tables are checked one by one.
            Value::Array(items) => items.iter().all(|item| matches!(item.value, Value::Table(_))),
            _ => false,
        };
        matches!(node.set_by, SetBy::File { .. }) && !is_empty
    };
    match &node.value {
        Value::Table(table) => {
            table.iter().any(|(key, node)| (names_a_secret(key) && is_set(node)) || has_secrets_of_file(node))
        }
        Value::Array(items) => items.iter().any(has_secrets_of_file),
        _ => false,
    }
}

#[cfg(unix)]
fn is_readable_by_all(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|about| about.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn is_readable_by_all(_: &Path) -> bool {
    false
}

/// Whether the name of a key says that the value of the key is a secret.
fn names_a_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["secret", "password", "api_key", "apikey", "private_key"].iter().any(|word| key.contains(word))
        || key == "token"
        || key.ends_with("_token")
}
