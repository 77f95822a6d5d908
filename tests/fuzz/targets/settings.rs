//! Fuzzes the settings: any file and any variables are either read, or refused with a message without control
//! characters.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use postback::__fuzz;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// Numbers of known settings, and any values for them, for the file.
    file: Vec<(u8, &'a str)>,
    /// Any text at the end of the file, valid TOML or not.
    rest: &'a str,
    variables: Vec<(u8, &'a str)>,
}

fn key(which: u8) -> &'static str {
    __fuzz::SETTINGS[usize::from(which) % __fuzz::SETTINGS.len()]
}

fuzz_target!(|input: Input<'_>| {
    let mut file = String::new();
    for (which, value) in input.file.iter().take(8) {
        file += &format!("{} = {value}\n", key(*which));
    }
    file += input.rest;
    let variables = input.variables.iter().take(8);
    let variables = variables.map(|(which, value)| (key(*which).to_owned(), (*value).to_owned())).collect();
    if let Err(message) = __fuzz::settings(&file, variables) {
        assert!(!message.is_empty() && !message.contains(|c: char| c.is_control() && c != '\n'), "{message:?}");
    }
});
