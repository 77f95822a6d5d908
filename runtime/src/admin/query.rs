//! The query parameters of lists: filters, the size of a page, and the cursor.

use std::collections::HashMap;

use http::Uri;
use url::form_urlencoded;

use super::answer::Problem;
use super::cursors::Cursors;
use postback_wire::time::{Clock, Timestamp};

/// The number of rows on a page, if the call names none.
const USUAL_LIMIT: usize = 50;
/// The largest number of rows on a page.
const MAX_LIMIT: usize = 200;

/// The query parameters of one call. Each may occur once.
pub(super) struct Parameters(HashMap<String, String>);

impl Parameters {
    /// Reads the parameters. Only the names in `known` are allowed, so that a misspelt filter does not select all rows.
    pub(super) fn of(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let mut parameters = HashMap::new();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                let (shown, known) = (name.escape_debug(), known.join("`, `"));
                let detail = format!("unknown query parameter `{shown}`; known are `{known}`");
                return Err(Problem::invalid(&name, detail));
            }
            if parameters.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(Problem::invalid(&name, format!("the query parameter `{name}` occurs twice")));
            }
        }
        // An empty value is the same as none, as a form in a browser sends it.
        parameters.retain(|_, value| !value.is_empty());
        Ok(Self(parameters))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    /// Reads a parameter with the function `parse`. `wanted` says what is expected.
    pub(super) fn parsed<T>(
        &self,
        name: &str,
        wanted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        self.get(name).map(|text| parse(text).ok_or_else(|| wrong(name, wanted))).transpose()
    }

    /// Reads a time: a date and a time, or how long ago.
    pub(super) fn time(&self, name: &str, clock: &Clock) -> Result<Option<Timestamp>, Problem> {
        self.parsed(name, TIME, |text| time(text, clock))
    }

    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let limit = |text: &str| text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        Ok(self.parsed("limit", "a whole number from 1 to 200", limit)?.unwrap_or(USUAL_LIMIT))
    }

    /// Reads the cursor of a list that goes by the numbers of rows.
    pub(super) fn row(&self) -> Result<Option<u64>, Problem> {
        self.parsed("cursor", CURSOR, |text| u64::from_str_radix(text.strip_prefix('r')?, 16).ok())
    }

    /// Reads the cursor of a list that goes by names which must not be shown.
    pub(super) fn sealed(&self, cursors: &Cursors) -> Result<String, Problem> {
        Ok(self.parsed("cursor", CURSOR, |text| cursors.open(text))?.unwrap_or_default())
    }

    /// Reads the cursor of a list that goes by names. Without a cursor, the list begins before all names.
    pub(super) fn name(&self) -> Result<String, Problem> {
        Ok(self.parsed("cursor", CURSOR, |text| text.strip_prefix('n').map(str::to_owned))?.unwrap_or_default())
    }
}

const CURSOR: &str = "the member `next` of the page before";
const TIME: &str = "a time such as 2026-11-23T08:00:00Z, or how long ago, such as 10m";

/// Reads a time: a date and a time as in RFC 3339, or how long ago.
pub(super) fn time(text: &str, clock: &Clock) -> Option<Timestamp> {
    let ago = || humantime::parse_duration(text).ok().map(|ago| clock.now().saturating_sub(ago));
    Timestamp::parse(text).or_else(ago)
}

/// The problem of a time that cannot be read.
pub(super) fn wrong_time(name: &str) -> Problem {
    wrong(name, TIME)
}

fn wrong(name: &str, wanted: &str) -> Problem {
    Problem::invalid(name, format!("`{name}` must be {wanted}"))
}

/// Makes the cursor of a list that goes by the numbers of rows.
pub(super) fn row_cursor(row: u64) -> String {
    format!("r{row:x}")
}

/// Makes the cursor of a list that goes by names.
pub(super) fn name_cursor(name: &str) -> String {
    format!("n{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Result<Parameters, Problem> {
        Parameters::of(&format!("/x?{query}").parse().unwrap(), &["limit", "cursor", "since"])
    }

    #[test]
    fn a_cursor_is_read_back() {
        for row in [0, 1, 35, 36, 12_345_678, u64::MAX] {
            assert_eq!(of(&format!("cursor={}", row_cursor(row))).unwrap().row().unwrap(), Some(row));
        }
        assert_eq!(of("cursor=nhttps%3A%2F%2Fa").unwrap().name().unwrap(), "https://a");
        assert_eq!(of("").unwrap().name().unwrap(), "");
        for bad in ["cursor=x1", "cursor=r", "cursor=r-1", "cursor=1"] {
            assert!(of(bad).unwrap().row().is_err(), "{bad}");
        }
    }

    #[test]
    fn wrong_parameters_are_refused() {
        assert!(of("statsu=failed").is_err() && of("limit=1&limit=2").is_err());
        for bad in ["limit=0", "limit=201", "limit=x", "limit=-1"] {
            assert!(of(bad).unwrap().limit().is_err(), "{bad}");
        }
        assert_eq!((of("limit=200").unwrap().limit().unwrap(), of("limit=").unwrap().limit().unwrap()), (200, 50));
    }

    #[test]
    fn a_time_is_a_date_or_how_long_ago() {
        let clock = Clock::from_fn(|| Timestamp::from_micros(600_000_000));
        let read = |text: &str| of(&format!("since={text}")).unwrap().time("since", &clock);
        assert_eq!(read("1970-01-01T00:00:01Z").unwrap(), Some(Timestamp::from_micros(1_000_000)));
        assert_eq!(read("1m").unwrap(), Some(Timestamp::from_micros(540_000_000)));
        assert!(read("yesterday").is_err());
    }
}
