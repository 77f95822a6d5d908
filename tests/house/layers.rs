//! Checks the order of the modules. A module may use modules of lower rows, but not modules of its own row or of higher
//! rows.
//!
//! The check reads the tokens of each file, so comments and string literals do not count. Code that is compiled only
//! for tests does not count either.

mod the_checker;

use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

use crate::{files_below, none, root};

/// One crate, with the rows of its top-level modules. The lowest row is the first.
struct House {
    folder: &'static str,
    /// The name of the crate. Its own code may write this name instead of `crate`.
    name: &'static str,
    rows: &'static [&'static [&'static str]],
    /// Items of the root that every module may use.
    shared: &'static [&'static str],
    /// Modules that only re-export. They may use all modules.
    outside: &'static [&'static str],
}

const WIRE: House = House {
    folder: "runtime/wire/src",
    name: "postback_wire",
    rows: &[
        &["line", "names", "trace"],
        &["time", "format"],
        &["id", "secret"],
        &["webhook", "report", "signature"],
        &["verify"],
    ],
    shared: &["debug_as_message"],
    outside: &["lib"],
};

const STORE: House = House {
    folder: "runtime/store/src",
    name: "postback_store",
    rows: &[
        &["terms"],
        &["backoff", "shutdown", "error", "options", "progress", "checkpoint", "record", "room", "intake", "quota"],
        &[
            "backlog", "begun", "cancel", "clock", "counters", "health", "identity", "list", "overview", "parked",
            "share", "sizes", "space", "summary", "audit", "tokens",
        ],
        &["nodes"],
        &["feed", "handed_in", "handoff", "wake", "retention", "series", "timeline"],
        &["local"],
        &["operation"],
        &["ops"],
        &["backend", "inbox", "sql"],
        &["memory", "sqlite", "postgres", "writer"],
        &["peers", "failing", "taking"],
        &["copy"],
    ],
    // Each kind of operation adds its own methods to the store.
    shared: &["Store", "Error", "warn_unless_logged"],
    outside: &["lib"],
};

const RUNTIME: House = House {
    folder: "runtime/src",
    name: "postback",
    rows: &[
        &["background", "panics", "spans"],
        &["policy"],
        &["delivery"],
        &["poster", "results"],
        &["outcome", "handler"],
        &["worker", "cron", "forward", "telemetry", "problem", "access", "cancel"],
        &["openapi", "pages"],
        &["api", "inspector", "admin", "dashboard"],
        &["settings"],
        &["app"],
        &["cli"],
        &["entry", "testing"],
    ],
    shared: &[],
    outside: &["lib", "__private", "__fuzz"],
};

const MACROS: House = House {
    folder: "macros/src",
    name: "postback_macros",
    rows: &[&["diagnostics"], &["paths"], &["arguments", "item"], &["async_handler", "debug_handler", "main_fn"]],
    shared: &[],
    outside: &["lib"],
};

#[test]
fn the_modules_of_the_runtime_are_in_order() {
    none(&RUNTIME.problems());
}

#[test]
fn the_modules_of_the_wire_are_in_order() {
    none(&WIRE.problems());
}

#[test]
fn the_modules_of_the_store_are_in_order() {
    none(&STORE.problems());
}

#[test]
fn the_modules_of_the_macros_are_in_order() {
    none(&MACROS.problems());
}

impl House {
    fn problems(&self) -> Vec<String> {
        let files = files_below(self.folder, ".rs");
        assert!(!files.is_empty(), "{} is empty", self.folder);
        let test_only = is_test_only(self.folder, &files);
        let mut problems = Vec::new();
        for file in files.iter().filter(|file| !test_only(file)) {
            problems.extend(self.check(file, &std::fs::read_to_string(root().join(file)).unwrap()));
        }
        problems
    }

    /// The problems of one file. Each is a text `file:line: problem`.
    fn check(&self, file: &Path, source: &str) -> Vec<String> {
        let module = module_path(self.folder, file);
        let top = module[0].as_str();
        if self.outside.contains(&top) {
            return Vec::new();
        }
        let Some(row) = self.row(top) else {
            return vec![format!("{}:1: {top} has no row; give it one in tests/house/layers.rs", file.display())];
        };
        let mut uses = Uses { name: self.name, found: Vec::new() };
        uses.read(&tokens(file, source), module.len(), 0);
        let problem = |(line, target): (usize, Used)| {
            let what = match target {
                Used::Root => format!("`super` leaves {top}; write `crate::` and the module"),
                Used::Everything => format!("{top} uses all of the crate; name the module"),
                Used::Module(name) if name == top || self.shared.contains(&name.as_str()) => return None,
                Used::Module(name) => match self.row(&name) {
                    None => format!("{top} uses crate::{name}, which has no row; name the module that it is from"),
                    Some(other) if other < row => return None,
                    Some(other) => {
                        let place = if other == row { "stands in the same row" } else { "stands above it" };
                        format!("{top} must not use {name}, which {place}")
                    }
                },
            };
            Some(format!("{}:{line}: {what}", file.display()))
        };
        uses.found.into_iter().filter_map(problem).collect()
    }

    fn row(&self, module: &str) -> Option<usize> {
        self.rows.iter().position(|row| row.contains(&module))
    }
}

/// The module of a file. For `runtime/src/store/record.rs` it is `["store", "record"]`.
fn module_path(folder: &str, file: &Path) -> Vec<String> {
    let inner = file.strip_prefix(folder).unwrap().with_extension("");
    inner.iter().map(|part| part.to_string_lossy().into_owned()).collect()
}

fn tokens(file: &Path, source: &str) -> Vec<TokenTree> {
    let stream: TokenStream = source.parse().unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    stream.into_iter().collect()
}

fn group_tokens(group: &Group) -> Vec<TokenTree> {
    group.stream().into_iter().collect()
}

/// A use of another module of the same crate.
#[derive(Debug, PartialEq)]
enum Used {
    Module(String),
    /// A path of `super` that reaches the root of the crate.
    Root,
    /// `crate::*`, or `crate` itself.
    Everything,
}

struct Uses {
    name: &'static str,
    found: Vec<(usize, Used)>,
}

impl Uses {
    /// Reads tokens of a module that is `depth` levels below the root. `supers` is the number of `super` before this
    /// group.
    fn read(&mut self, tokens: &[TokenTree], depth: usize, supers: usize) {
        let mut at = 0;
        while at < tokens.len() {
            if let Some(end) = test_item(&tokens[at..]) {
                at += end;
                continue;
            }
            at += match &tokens[at] {
                TokenTree::Ident(ident) if ident == "super" && is_path(&tokens[at + 1..]) => {
                    let starts_element = at == 0 || is_punct(&tokens[at - 1], ',');
                    let before = if starts_element { supers } else { 0 };
                    self.read_supers(&tokens[at..], depth, before)
                }
                TokenTree::Ident(ident) if self.is_crate(ident) && starts_path(&tokens[..at]) => {
                    self.read_crate(&tokens[at..], ident.span().start().line)
                }
                // `mod name { … }`
                TokenTree::Ident(ident) if ident == "mod" && is_braced(tokens.get(at + 2)) => {
                    let TokenTree::Group(group) = &tokens[at + 2] else { unreachable!("just looked at") };
                    self.read(&group_tokens(group), depth + 1, 0);
                    3
                }
                TokenTree::Group(group) => {
                    self.read(&group_tokens(group), depth, 0);
                    1
                }
                _ => 1,
            };
        }
    }

    fn is_crate(&self, ident: &proc_macro2::Ident) -> bool {
        ident == "crate" || ident == self.name
    }

    /// Reads `super::super::…`. Returns the number of tokens read.
    fn read_supers(&mut self, tokens: &[TokenTree], depth: usize, before: usize) -> usize {
        let (mut at, mut count) = (0, before);
        while matches!(tokens.get(at), Some(TokenTree::Ident(ident)) if ident == "super") && is_path(&tokens[at + 1..])
        {
            count += 1;
            at += 3;
        }
        if count >= depth {
            self.found.push((tokens[0].span().start().line, Used::Root));
        }
        if let Some(TokenTree::Group(group)) = tokens.get(at) {
            self.read(&group_tokens(group), depth, count);
            at += 1;
        }
        at
    }

    /// Reads `crate::a` or `crate::{a, b::c}`. Returns the number of tokens read. The rest of the path is read by the
    /// caller.
    fn read_crate(&mut self, tokens: &[TokenTree], line: usize) -> usize {
        if !is_path(&tokens[1..]) {
            // The tokens are `pub(crate)` or `use crate as x`.
            let renamed = matches!(tokens.get(1), Some(TokenTree::Ident(ident)) if ident == "as");
            if renamed && !matches!(&tokens[0], TokenTree::Ident(ident) if ident == self.name) {
                self.found.push((line, Used::Everything));
            }
            return 1;
        }
        match tokens.get(3) {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let mut starts = true;
                for token in group.stream() {
                    if starts {
                        self.first_of(&token, token.span().start().line);
                    }
                    starts = is_punct(&token, ',');
                }
                4
            }
            Some(token) => {
                self.first_of(token, line);
                4
            }
            None => 3,
        }
    }

    fn first_of(&mut self, token: &TokenTree, line: usize) {
        self.found.push(match token {
            TokenTree::Ident(ident) if ident != "self" => (line, Used::Module(ident.to_string())),
            _ => (line, Used::Everything),
        });
    }
}

fn is_punct(token: &TokenTree, c: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == c)
}

fn is_braced(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace)
}

/// Whether the next tokens are `::`.
fn is_path(tokens: &[TokenTree]) -> bool {
    tokens.len() > 1 && is_punct(&tokens[0], ':') && is_punct(&tokens[1], ':')
}

/// Whether a name after these tokens is the first of its path. In `::x` it is, in `a::x` it is not.
fn starts_path(before: &[TokenTree]) -> bool {
    match before {
        [.., TokenTree::Ident(word), colon, _] if is_punct(colon, ':') => word == "use",
        _ => true,
    }
}

/// The number of tokens of the next item, if that item is compiled only for tests.
fn test_item(tokens: &[TokenTree]) -> Option<usize> {
    if !attribute(tokens).is_some_and(|content| is_test_condition(&content)) {
        return None;
    }
    let mut at = 2;
    while attribute(&tokens[at.min(tokens.len())..]).is_some() {
        at += 2;
    }
    let word = |at: usize| match tokens.get(at) {
        Some(TokenTree::Ident(ident)) => ident.to_string(),
        _ => String::new(),
    };
    // Skip the visibility.
    if word(at) == "pub" {
        at += if matches!(tokens.get(at + 1), Some(TokenTree::Group(_))) { 2 } else { 1 };
    }
    let first = word(at);
    // `const fn` and `const unsafe fn` have a body. `const X: …` ends with a semicolon, as `use` does.
    let is_function = first == "fn" || ["fn", "unsafe", "async", "extern"].contains(&word(at + 1).as_str());
    let to_semicolon = ["use", "static", "type", "let"].contains(&first.as_str()) || (first == "const" && !is_function);
    let keywords = ["mod", "struct", "enum", "union", "trait", "impl", "unsafe", "extern", "async", "macro_rules"];
    let is_item = is_function || to_semicolon || keywords.contains(&first.as_str());
    while let Some(token) = tokens.get(at) {
        at += 1;
        let ends = is_punct(token, ';')
            || (is_braced(Some(token)) && !to_semicolon)
            // A field, a variant or a match arm ends with a comma.
            || (is_punct(token, ',') && !is_item);
        if ends {
            break;
        }
    }
    Some(at)
}

/// The tokens inside the brackets, if the next tokens are an outer attribute.
fn attribute(tokens: &[TokenTree]) -> Option<Vec<TokenTree>> {
    match tokens {
        [hash, TokenTree::Group(group), ..] if is_punct(hash, '#') && group.delimiter() == Delimiter::Bracket => {
            Some(group_tokens(group))
        }
        _ => None,
    }
}

/// Whether an attribute is `cfg(test)` or `cfg(all(test, …))`. `cfg(any(test, …))`, `cfg(not(test))` and
/// `cfg_attr(test, …)` do not count.
fn is_test_condition(attribute: &[TokenTree]) -> bool {
    fn holds(tokens: &[TokenTree]) -> bool {
        tokens.split(|token| is_punct(token, ',')).any(|part| match part {
            [TokenTree::Ident(word)] => word == "test",
            [TokenTree::Ident(word), TokenTree::Group(group)] => word == "all" && holds(&group_tokens(group)),
            _ => false,
        })
    }
    match attribute {
        [TokenTree::Ident(word), TokenTree::Group(group)] => word == "cfg" && holds(&group_tokens(group)),
        _ => false,
    }
}

/// Returns a function that says whether a file is compiled only for tests. Such a file is declared as
/// `#[cfg(test)] mod name;`, or is below such a module.
fn is_test_only(folder: &str, files: &[PathBuf]) -> impl Fn(&Path) -> bool {
    let mut roots = Vec::new();
    for file in files {
        let source = std::fs::read_to_string(root().join(file)).unwrap();
        let mut parent = module_path(folder, file);
        parent.retain(|part| part != "lib");
        for name in test_modules(&tokens(file, &source)) {
            roots.push(parent.iter().cloned().chain([name]).collect::<Vec<_>>());
        }
    }
    let folder = folder.to_owned();
    move |file| {
        let module = module_path(&folder, file);
        roots.iter().any(|root| module.starts_with(root))
    }
}

/// The names of modules that are declared as `#[cfg(test)] mod name;`.
fn test_modules(tokens: &[TokenTree]) -> Vec<String> {
    let items = (0..tokens.len()).filter_map(|at| Some(&tokens[at..at + test_item(&tokens[at..])?]));
    items
        .filter_map(|item| match item {
            [.., TokenTree::Ident(word), TokenTree::Ident(name), end] if word == "mod" && is_punct(end, ';') => {
                Some(name.to_string())
            }
            _ => None,
        })
        .collect()
}
