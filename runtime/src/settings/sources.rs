//! Where settings are given: a file, the environment, flags; the later one wins.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::error::{Error, Errors, Origin};
use super::tree::{self, Node};
use super::{KEYS, warnings};

/// Read if it exists and no other file is asked for.
const DEFAULT_FILE: &str = "postback.toml";
pub(super) const PREFIX: &str = "POSTBACK_";
/// Between the names of nested keys, which may have single underscores of their own.
pub(super) const SEPARATOR: &str = "__";

/// All that [`load`](super::load) reads.
pub(crate) struct Sources {
    /// The program's name, which its database bears by default: two programs in one folder do not share a queue.
    pub(crate) program: String,
    /// `--config`; `None`: `postback.toml` in the current folder, if there is one.
    pub(crate) file: Option<PathBuf>,
    /// Dotted key, text, and the flag's name for messages, such as `--listen`.
    pub(crate) flags: Vec<(String, String, String)>,
    pub(crate) env: Vec<(OsString, OsString)>,
}

impl Sources {
    /// With the environment of this process.
    pub(crate) fn from_process(program: &str, file: Option<PathBuf>, flags: Vec<(String, String, String)>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads it")]
        let env = std::env::vars_os().collect();
        Self { program: program.to_owned(), file, flags, env }
    }
}

/// What was read, nothing of it checked.
pub(super) struct Gathered {
    pub(super) program: String,
    pub(super) root: Node,
    /// The file, if there was one.
    pub(super) file: Option<PathBuf>,
    /// `RUST_LOG`, unless empty.
    pub(super) rust_log: Option<String>,
    /// What is ignored and probably not meant so.
    pub(super) warnings: Vec<String>,
}

/// The name of the variable that sets a key.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', SEPARATOR).replace('-', "_").to_ascii_uppercase())
}

pub(super) fn gather(mut sources: Sources) -> Result<Gathered, Errors> {
    let read = read_file(sources.file.take());
    overlay(read, sources)
}

#[cfg(fuzzing)]
pub(super) fn gather_text(file: &str, variables: Vec<(String, String)>) -> Result<Gathered, Errors> {
    let path = Path::new(DEFAULT_FILE);
    let env = variables.into_iter().map(|(key, value)| (variable(&key).into(), value.into())).collect();
    let sources = Sources { program: "postback".to_owned(), file: None, flags: Vec::new(), env };
    overlay(tree::from_document(file, path).map(|root| Some((root, path.to_owned()))), sources)
}

/// What variables and flags set, over what was read of a file.
fn overlay(read: Result<Option<(Node, PathBuf)>, Error>, sources: Sources) -> Result<Gathered, Errors> {
    let mut errors = Vec::new();
    let (mut root, file) = match read {
        Ok(Some((root, path))) => (root, Some(path)),
        Ok(None) => (Node::table(Origin::Program), None),
        Err(error) => {
            errors.push(error);
            (Node::table(Origin::Program), None)
        }
    };
    let mut rust_log = None;
    let mut env = sources.env;
    let keys: Vec<&str> = KEYS.iter().copied().chain(["config.webhook_url"]).collect();
    let mut warnings = warnings::ignored_variables(&env, &keys);
    // The order of the environment is chance.
    env.sort();
    for (name, value) in env {
        if name == "RUST_LOG" {
            match value.into_string() {
                Ok(text) => rust_log = Some(text).filter(|text| !text.is_empty()),
                Err(_) => errors.push(Error::Variable { name: "RUST_LOG".into() }),
            }
        } else if let Err(error) = overlay_variable(&mut root, &name, &value) {
            errors.push(error);
        }
    }
    for (key, text, flag) in sources.flags {
        let path: Vec<&str> = key.split('.').collect();
        let leaf = Node::text(Origin::Flag(flag.into()), text);
        if let Err(error) = root.insert(&path, leaf, false) {
            errors.push(error);
        }
    }
    warnings.extend(file.as_deref().and_then(|file| warnings::readable_file(file, &root)));
    if errors.is_empty() {
        Ok(Gathered { program: sources.program, root, file, rust_log, warnings })
    } else {
        Err(Errors(errors))
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

/// Container platforms set variables of this prefix for a service of this name (`POSTBACK_PORT`,
/// `POSTBACK_SERVICE_HOST`), so only those with a separator count.
fn overlay_variable(root: &mut Node, name: &OsStr, value: &OsStr) -> Result<(), Error> {
    let shown = name.to_string_lossy();
    let Some(key) = shown.strip_prefix(PREFIX).filter(|key| key.contains(SEPARATOR)) else { return Ok(()) };
    let (Some(_), Some(text)) = (name.to_str(), value.to_str()) else {
        return Err(Error::Variable { name: shown.into_owned() });
    };
    let key = key.to_ascii_lowercase();
    let path: Vec<&str> = key.split(SEPARATOR).collect();
    let leaf = Node::text(Origin::Variable(shown.as_ref().into()), text);
    root.insert(&path, leaf, true)
}
