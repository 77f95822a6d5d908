//! Suggests a known name for an unknown one.

/// The largest number of known names that are listed in an error, if no known name is similar to the unknown name. If
/// there are more known names, none is listed.
const MAX_LISTED: usize = 12;

/// Whether `name` may be the name `known` with typing errors, because at most a third of the characters differ.
pub(super) fn is_near(name: &str, known: &str) -> bool {
    let longer = name.chars().count().max(known.chars().count());
    strsim::damerau_levenshtein(name, known) <= (longer / 3).max(1)
}

/// Suggests the known name that is most similar to `name`. If no known name is similar enough, lists all known names.
/// Returns `None` if there are too many known names to list.
pub(super) fn suggest(name: &str, known: &[&str]) -> Option<String> {
    let nearest = known.iter().min_by_key(|known| strsim::damerau_levenshtein(known, name))?;
    if is_near(name, nearest) {
        Some(did_you_mean(nearest))
    } else if known.len() <= MAX_LISTED {
        Some(format!("known keys: {}", known.join(", ")))
    } else {
        None
    }
}

/// Suggests a known dotted key for an unknown dotted key. The suggestion is the same key in another section. If there
/// is no such key, the suggestion is a key whose whole dotted name is similar. Otherwise, the keys of the same section
/// are suggested.
pub(super) fn suggest_key(key: &str, known: &[&str]) -> Option<String> {
    let key = of_any_route(&without_indexes(key));
    let Some((section, last)) = key.rsplit_once('.') else {
        let mut sections: Vec<&str> = known.iter().filter_map(|known| Some(known.split_once('.')?.0)).collect();
        sections.push("config");
        sections.dedup();
        return suggest(&key, &sections);
    };
    if let Some(elsewhere) = known.iter().find(|known| known.rsplit('.').next() == Some(last)) {
        return Some(did_you_mean(elsewhere));
    }
    let near = known.iter().filter(|known| is_near(&key, known));
    if let Some(nearest) = near.min_by_key(|known| strsim::damerau_levenshtein(known, &key)) {
        return Some(did_you_mean(nearest));
    }
    let section = section.split('.').next().unwrap_or_default();
    let in_section = known.iter().copied().filter(|known| known.split_once('.').is_some_and(|(of, _)| of == section));
    suggest(&key, &in_section.collect::<Vec<_>>())
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean {name}?")
}

/// Removes the list indexes from a dotted key: `delivery.endpoint[0].url` becomes `delivery.endpoint.url`.
fn without_indexes(key: &str) -> String {
    let mut key = key.to_owned();
    while let (Some(open), Some(close)) = (key.find('['), key.find(']')) {
        key.replace_range(open.min(close)..=close, "");
    }
    key
}

/// Replaces the path of a route by `/path`: `route."/greet".timeout` becomes `route."/path".timeout`.
fn of_any_route(key: &str) -> String {
    match key.strip_prefix("route.\"").and_then(|rest| rest.rsplit_once("\".")) {
        Some((_, last)) => format!("route.\"/path\".{last}"),
        None => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_is_called_so() {
        assert_eq!(suggest("lisen", &["listen", "max"]).unwrap(), "did you mean listen?");
        assert_eq!(suggest("color", &["listen", "max"]).unwrap(), "known keys: listen, max");
        assert_eq!(suggest("color", &["abcdefgh"; 13]), None);
        assert_eq!(suggest("color", &[]), None);
        assert!(is_near("server_listen", "server_lisen") && !is_near("port", "store"));
    }
}
