//! The names of routes in the document: operation ids, and names of schemas.

use std::collections::BTreeSet;

/// Gives each route a name. No two routes have the same name.
#[derive(Default)]
pub(super) struct Names(BTreeSet<String>);

impl Names {
    /// Returns the name of the route at this path: its letters and digits, in words that underscores separate.
    pub(super) fn of(&mut self, path: &str) -> String {
        let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let words: Vec<_> = words.map(str::to_ascii_lowercase).collect();
        let base = if words.is_empty() { "route".to_owned() } else { words.join("_") };
        let (mut name, mut number) = (base.clone(), 1);
        while !self.0.insert(name.clone()) {
            number += 1;
            name = format!("{base}_{number}");
        }
        name
    }
}

/// Writes the words of a route's name in the form of a type's name.
pub(super) fn type_name(name: &str) -> String {
    name.split('_').map(|word| word[..1].to_ascii_uppercase() + &word[1..]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_have_distinct_names_of_letters_and_digits() {
        let mut names = Names::default();
        let of = ["/Greet", "/a-b", "/a_b", "/a/b", "/v1.0/x~y", "/-", "/~"].map(|path| names.of(path));
        assert_eq!(of, ["greet", "a_b", "a_b_2", "a_b_3", "v1_0_x_y", "route", "route_2"]);
        assert_eq!(type_name("v1_0_x_y"), "V10XY");
    }
}
