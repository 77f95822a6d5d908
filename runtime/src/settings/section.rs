//! Reads one table of the settings key by key, and collects all mistakes.

use super::error::Error;
use super::keys::KEYS;
use super::mismatch::{Mismatch, expected};
use super::read;
use super::set_by::SetBy;
use super::suggestion::suggest_key;
use super::tree::{Node, Table};

/// A table of the settings. When a key is read, the key is removed from the table. The keys that are still in the table
/// at the end are unknown keys.
pub(super) struct Section<'e> {
    path: String,
    table: Table,
    errors: &'e mut Vec<Error>,
}

impl<'e> Section<'e> {
    /// Makes the section with the dotted key `path`. If `node` is `None`, the section has no keys.
    pub(super) fn new(path: String, node: Option<Node>, errors: &'e mut Vec<Error>) -> Self {
        let mut table = Table::new();
        if let Some(node) = node {
            let set_by = node.set_by.clone();
            match node.into_table() {
                Some(given) => table = given,
                None => errors.push(expected("a table").into_error(path.clone(), &set_by)),
            }
        }
        Self { path, table, errors }
    }

    /// Reads the value of a key. Returns `default` if the key is not set. If the value is wrong, adds an error, which
    /// prevents the start of the program. In this case, also returns `default`, so that the other keys can be checked.
    pub(super) fn take<T>(&mut self, key: &str, default: T, read: impl FnOnce(Node) -> Result<T, Mismatch>) -> T {
        self.take_with_place(key, default, read).0
    }

    /// Reads the value of a key as [`take`](Self::take) does. Also returns where the value was set.
    pub(super) fn take_with_place<T>(
        &mut self,
        key: &str,
        default: T,
        read: impl FnOnce(Node) -> Result<T, Mismatch>,
    ) -> (T, SetBy) {
        let Some(node) = self.table.remove(key) else { return (default, SetBy::Program) };
        let set_by = node.set_by.clone();
        match read(node) {
            Ok(value) => (value, set_by),
            Err(mismatch) => {
                self.refuse(key, &set_by, mismatch);
                (default, set_by)
            }
        }
    }

    /// Reads a list of tables, such as `[[delivery.endpoint]]`. Reads each table with the function `read`.
    pub(super) fn take_tables<T>(&mut self, key: &str, mut read: impl FnMut(&mut Section<'_>) -> Option<T>) -> Vec<T> {
        let nodes = self.take(key, Vec::new(), |node| read::list(node, "a list of tables", Ok));
        let mut values = Vec::new();
        for (at, node) in nodes.into_iter().enumerate() {
            let path = format!("{}[{at}]", self.dotted(key));
            let mut section = Section::new(path, Some(node), self.errors);
            values.extend(read(&mut section));
            section.finish();
        }
        values
    }

    /// Adds an error which says that the value of a key is wrong.
    pub(super) fn refuse(&mut self, key: &str, set_by: &SetBy, mismatch: Mismatch) {
        let key = self.dotted(key);
        self.errors.push(mismatch.into_error(key, set_by));
    }

    /// Adds an error which says that the value of an environment variable is wrong. This method is for variables that
    /// set no key of the settings, such as `RUST_LOG`.
    pub(super) fn refuse_variable(&mut self, name: &str, mismatch: Mismatch) {
        self.errors.push(mismatch.into_error(name.to_owned(), &SetBy::Variable(name.into())));
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    pub(super) fn missing(&mut self, key: &str) {
        self.errors.push(Error::Missing { key: self.dotted(key) });
    }

    /// Adds an error for each key that was not read, because such a key is unknown.
    pub(super) fn finish(self) {
        for (key, node) in &self.table {
            let key = self.dotted(key);
            let hint = suggest_key(&key, KEYS);
            self.errors.push(Error::Unknown { key, set_by: node.set_by.clone(), hint });
        }
    }

    fn dotted(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}
