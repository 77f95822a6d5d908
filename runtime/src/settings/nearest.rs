//! Which known name was probably meant.

/// Names that are listed where none is near.
const LISTED: usize = 12;

/// Whether a name may be a mistyped form of a known one: at most a third of it differs.
pub(super) fn is_near(name: &str, known: &str) -> bool {
    let longer = name.chars().count().max(known.chars().count());
    strsim::damerau_levenshtein(name, known) <= (longer / 3).max(1)
}

/// Names the known key that was probably meant; where none is near, all of them if they are few.
pub(super) fn hint(name: &str, known: &[&str]) -> Option<String> {
    let nearest = known.iter().min_by_key(|known| strsim::damerau_levenshtein(known, name))?;
    if is_near(name, nearest) {
        Some(format!("the nearest known one is {nearest}"))
    } else if known.len() <= LISTED {
        Some(format!("known are {}", known.join(", ")))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_is_called_so() {
        assert_eq!(hint("lisen", &["listen", "max"]).unwrap(), "the nearest known one is listen");
        assert_eq!(hint("color", &["listen", "max"]).unwrap(), "known are listen, max");
        assert_eq!(hint("color", &["abcdefgh"; 13]), None);
        assert_eq!(hint("color", &[]), None);
        assert!(is_near("server_listen", "server_lisen") && !is_near("port", "store"));
    }
}
