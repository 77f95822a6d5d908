//! The names of the environment variables that set keys: `server.listen` is set by `POSTBACK_SERVER__LISTEN`.

pub(super) const PREFIX: &str = "POSTBACK_";
/// The separator between a section and its key in the name of an environment variable. The separator has two
/// underscores, because a key may contain single underscores.
pub(super) const SEPARATOR: &str = "__";

/// The variable that sets the list `forward`. It is the only key without a section.
pub(super) const FORWARD: &str = "POSTBACK_FORWARD";

/// Whether a variable with this name sets a key. Other variables that begin with `POSTBACK_` are not ours: container
/// platforms set some.
pub(super) fn is_key(name: &str) -> bool {
    name == FORWARD || (name.starts_with(PREFIX) && name.contains(SEPARATOR))
}

/// Returns the name of the environment variable that sets a dotted key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', SEPARATOR).replace('-', "_").to_ascii_uppercase())
}
