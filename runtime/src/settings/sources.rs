//! The sources of settings: the file, the environment, the flags. A variable wins over the file, a flag wins over both.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::error::{Error, Errors};
use super::keys::KEYS;
use super::set_by::SetBy;
use super::tree::{self, Node};
use super::variables::{PREFIX, SEPARATOR, is_key};
use super::warnings;

/// The settings file that is read if `--config` is not given. This file need not exist.
const DEFAULT_FILE: &str = "postback.toml";
/// The name of a text in place of the file, for messages.
const TEXT: &str = "the text of the settings";

/// The sources of the settings: a file, environment variables and flags.
pub(crate) struct Sources {
    /// The program's name. The default name of the database contains this name, so that two programs in one folder do
    /// not use one database.
    pub(crate) program: String,
    /// The file that `--config` names. `None` means `postback.toml` in the current folder, if this file exists.
    pub(crate) file: Option<PathBuf>,
    /// A text in place of the file.
    pub(crate) text: Option<String>,
    /// The flags that set keys. Each item has the dotted key, the value as text, and the name of the flag, such as
    /// `--listen`, for messages.
    pub(crate) flags: Vec<(String, String, String)>,
    pub(crate) env: Vec<(OsString, OsString)>,
}

impl Sources {
    /// Makes the sources from the arguments and the environment variables of this process.
    pub(crate) fn from_process(program: &str, file: Option<PathBuf>, flags: Vec<(String, String, String)>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "the only place that reads the environment")]
        let env = std::env::vars_os().collect();
        Self { program: program.to_owned(), file, text: None, flags, env }
    }
}

/// Returns the admin token that the environment holds for commands, in the variable `POSTBACK_ADMIN_TOKEN`. The variable
/// is no setting, because a setting has `__` in its name.
pub(crate) fn admin_token() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "settings are the only module that reads the environment")]
    let token = std::env::var("POSTBACK_ADMIN_TOKEN").ok();
    token.filter(|token| !token.is_empty())
}

/// Returns the secrets in the environment, for a command that reads no settings. The text is a list, as in the settings.
pub(crate) fn signing_secrets() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "settings are the only module that reads the environment")]
    let secrets = std::env::var("POSTBACK_DELIVERY__SECRETS").ok();
    secrets
}

/// The settings of all sources in one tree. The values are not checked yet.
pub(super) struct Gathered {
    pub(super) program: String,
    pub(super) root: Node,
    /// The path of the settings file. `None` if no file was read.
    pub(super) file: Option<PathBuf>,
    /// The value of the environment variable `RUST_LOG`. `None` if the variable is not set or is empty.
    pub(super) rust_log: Option<String>,
    /// The environment, because settings may name variables that hold tokens.
    pub(super) env: Vec<(OsString, OsString)>,
    /// Warnings for the operator about mistakes that do not prevent the start.
    pub(super) warnings: Vec<String>,
}

pub(super) fn gather(mut sources: Sources) -> Result<Gathered, Errors> {
    let read = match sources.text.take() {
        Some(text) => tree::from_document(&text, Path::new(TEXT)).map(|root| Some((root, None))),
        None => read_file(sources.file.take()).map(|read| read.map(|(root, path)| (root, Some(path)))),
    };
    overlay(read, sources)
}

#[cfg(any(fuzzing, test))]
pub(super) fn gather_text(file: &str, variables: Vec<(String, String)>) -> Result<Gathered, Errors> {
    let path = Path::new(DEFAULT_FILE);
    let env =
        variables.into_iter().map(|(key, value)| (super::variables::variable(&key).into(), value.into())).collect();
    let sources = Sources { program: "postback".to_owned(), file: None, text: None, flags: Vec::new(), env };
    overlay(tree::from_document(file, path).map(|root| Some((root, Some(path.to_owned())))), sources)
}

/// Merges the environment variables and the flags into `read`, the settings from the file.
fn overlay(read: Result<Option<(Node, Option<PathBuf>)>, Error>, sources: Sources) -> Result<Gathered, Errors> {
    let mut errors = Vec::new();
    let read = read.unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    let (mut root, file) = match read {
        Some(read) => read,
        None => (Node::empty_table(SetBy::Program), None),
    };
    let Sources { program, flags, env, .. } = sources;
    let keys: Vec<&str> = KEYS.iter().copied().chain(["config.webhook_url"]).collect();
    let mut warnings = warnings::ignored_variables(&env, &keys);
    let rust_log = overlay_variables(&mut root, env.clone(), &mut errors);
    overlay_flags(&mut root, flags, &mut errors);
    warnings.extend(file.as_deref().and_then(|file| warnings::readable_file(file, &root)));
    if errors.is_empty() { Ok(Gathered { program, root, file, rust_log, env, warnings }) } else { Err(Errors(errors)) }
}

/// Sets the keys whose environment variables are set. Returns the value of `RUST_LOG`, or `None` if this variable is
/// not set or is empty.
fn overlay_variables(root: &mut Node, mut env: Vec<(OsString, OsString)>, errors: &mut Vec<Error>) -> Option<String> {
    let mut rust_log = None;
    // The system returns the variables in no fixed order. The variables are sorted, so that their errors are always
    // listed in the same order.
    env.sort();
    for (name, value) in env {
        if name == "RUST_LOG" {
            match value.into_string() {
                Ok(text) => rust_log = Some(text).filter(|text| !text.is_empty()),
                Err(_) => errors.push(Error::Variable { name: "RUST_LOG".into() }),
            }
        } else if let Err(error) = overlay_variable(root, &name, &value) {
            errors.push(error);
        }
    }
    rust_log
}

fn overlay_flags(root: &mut Node, flags: Vec<(String, String, String)>, errors: &mut Vec<Error>) {
    for (key, text, flag) in flags {
        let path: Vec<&str> = key.split('.').collect();
        let leaf = Node::text(SetBy::Flag(flag.into()), text);
        if let Err(error) = root.insert(&path, leaf, false) {
            errors.push(error);
        }
    }
}

fn read_file(asked: Option<PathBuf>) -> Result<Option<(Node, PathBuf)>, Error> {
    let optional = asked.is_none();
    let path = asked.unwrap_or_else(|| Path::new(DEFAULT_FILE).to_owned());
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if optional && error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::File { path, source }),
    };
    let Ok(text) = String::from_utf8(bytes) else { return Err(Error::Encoding { path }) };
    Ok(Some((tree::from_document(&text, &path)?, path)))
}

/// Sets the settings key that belongs to an environment variable. A variable without `__` after `POSTBACK_` is ignored,
/// because container platforms set variables such as `POSTBACK_PORT` and `POSTBACK_SERVICE_HOST` for a service that is
/// called `postback`.
fn overlay_variable(root: &mut Node, name: &OsStr, value: &OsStr) -> Result<(), Error> {
    let shown = name.to_string_lossy();
    let Some(key) = shown.strip_prefix(PREFIX).filter(|_| is_key(&shown)) else { return Ok(()) };
    let (Some(_), Some(text)) = (name.to_str(), value.to_str()) else {
        return Err(Error::Variable { name: shown.into_owned() });
    };
    let key = key.to_ascii_lowercase();
    let path: Vec<&str> = key.split(SEPARATOR).collect();
    let leaf = Node::text(SetBy::Variable(shown.as_ref().into()), text);
    root.insert(&path, leaf, true)
}
