//! Settings: whatever stands in the file and in variables, they are read or refused in words that a terminal can take.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use postback::__fuzz;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// Known keys, with values of any kind.
    file: Vec<(u8, &'a str)>,
    /// Any TOML, or none.
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
    if let Err(said) = __fuzz::settings(&file, variables) {
        assert!(!said.is_empty() && !said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
    }
});
