//! The names of the environment variables that set keys: `server.listen` is set by `POSTBACK_SERVER__LISTEN`.

pub(super) const PREFIX: &str = "POSTBACK_";
/// Stands between a section and its key. Two underscores, since a key may contain single ones.
pub(super) const SEPARATOR: &str = "__";

/// The name of the environment variable that sets a dotted key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', SEPARATOR).replace('-', "_").to_ascii_uppercase())
}
