//! The language of filters: `status=completed inbox=orders "two words"`. The page, `listen` and its `--wait` use it.

use std::str::FromStr;

use serde_json::Value;

use super::hit::{Answered, Hit};

/// The longest filter, in bytes.
const MAX_TEXT: usize = 500;
/// The largest number of terms of a filter.
const MAX_TERMS: usize = 16;
/// The part of a body in which a text is searched, in bytes. Larger JSON bodies are not read for `body.…`.
const MAX_SEARCHED: usize = 1 << 20;
const NAMES: &str =
    "status, id, format, webhook-id, inbox, method, path, signature, attempt, answer, header.NAME, body.MEMBER";

/// Terms that all have to hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter(Vec<Term>);

#[derive(Clone, Debug)]
enum Term {
    /// A text that is in the path, the headers or the body. It is in small letters.
    Contains(String),
    Equals {
        field: Field,
        value: String,
        not: bool,
    },
}

#[derive(Clone, Debug)]
enum Field {
    Status,
    Id,
    Format,
    WebhookId,
    Inbox,
    Method,
    Path,
    Signature,
    Attempt,
    Answer,
    Header(String),
    Body(Vec<String>),
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > MAX_TEXT {
            return Err(format!("the filter has {} bytes; use at most {MAX_TEXT}", text.len()));
        }
        let terms = words(text)?.into_iter().map(term).collect::<Result<Vec<_>, _>>()?;
        if terms.len() > MAX_TERMS {
            return Err(format!("the filter has {} terms; use at most {MAX_TERMS}", terms.len()));
        }
        Ok(Self(terms))
    }
}

/// A word of a filter, and the position of the first character that was in quotes.
struct Word {
    text: String,
    quoted_from: usize,
}

/// Splits at blanks that are not in quotes.
fn words(text: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut quoted, mut quoted_from) = (false, usize::MAX);
    for c in text.chars().chain([' ']) {
        match c {
            '"' => {
                quoted_from = quoted_from.min(word.len());
                quoted = !quoted;
            }
            c if c.is_whitespace() && !quoted => {
                if !word.is_empty() || quoted_from == 0 {
                    words.push(Word { text: std::mem::take(&mut word), quoted_from });
                }
                quoted_from = usize::MAX;
            }
            c => word.push(c),
        }
    }
    if quoted { Err("a quote `\"` of the filter is not closed".to_owned()) } else { Ok(words) }
}

fn term(Word { text, quoted_from }: Word) -> Result<Term, String> {
    let Some(at) = text.find('=').filter(|at| *at < quoted_from) else {
        return Ok(Term::Contains(text.to_lowercase()));
    };
    let (name, value) = (&text[..at], text[at + 1..].to_owned());
    let (name, not) = name.strip_suffix('!').map_or((name, false), |name| (name, true));
    let field = match name {
        "status" => Field::Status,
        "id" => Field::Id,
        "format" => Field::Format,
        "webhook-id" => Field::WebhookId,
        "inbox" => Field::Inbox,
        "method" => Field::Method,
        "path" => Field::Path,
        "signature" => Field::Signature,
        "attempt" => Field::Attempt,
        "answer" => Field::Answer,
        _ => match name.split_once('.') {
            Some(("header", header)) if !header.is_empty() => Field::Header(header.to_ascii_lowercase()),
            Some(("body", path)) if !path.is_empty() => Field::Body(path.split('.').map(str::to_owned).collect()),
            _ => return Err(format!("the filter has no name {name:?}; use {NAMES}, or put the text into quotes")),
        },
    };
    Ok(Term::Equals { field, value, not })
}

impl Filter {
    pub(super) fn holds(&self, hit: &Hit, answer: Option<&Answered>) -> bool {
        self.0.iter().all(|term| match term {
            Term::Contains(text) => contains(hit, text),
            Term::Equals { field, value, not } => field.is(hit, answer, value) != *not,
        })
    }
}

impl Field {
    fn is(&self, hit: &Hit, answer: Option<&Answered>, value: &str) -> bool {
        match self {
            Self::Status => hit.status == value,
            Self::Id => hit.id == value,
            Self::Format => hit.form.is_some_and(|form| form.as_str() == value),
            Self::WebhookId => hit.webhook_id().as_deref() == Some(value),
            Self::Inbox => hit.inbox == value,
            Self::Method => hit.method.as_str().eq_ignore_ascii_case(value),
            Self::Path => hit.path() == value || hit.uri.path() == value,
            Self::Signature => hit.signature.verdict.name() == value,
            Self::Attempt => hit.attempt.to_string() == value,
            Self::Answer => answer.and_then(|answer| answer.status).is_some_and(|status| status.to_string() == value),
            Self::Header(name) => hit.headers.get_all(name).iter().any(|header| header.as_bytes() == value.as_bytes()),
            Self::Body(path) => member(&hit.body, path).is_some_and(|member| match member {
                Value::String(text) => text == value,
                // As the text of JSON: `42`, `true`, `null`.
                other => format!("{other}") == value,
            }),
        }
    }
}

/// Reads one member of a JSON body.
fn member(body: &[u8], path: &[String]) -> Option<Value> {
    let body = Some(body).filter(|body| body.len() <= MAX_SEARCHED)?;
    let mut value: Value = serde_json::from_slice(body).ok()?;
    for name in path {
        value = match value {
            Value::Object(mut members) => members.remove(name)?,
            Value::Array(mut items) => {
                let at: usize = name.parse().ok()?;
                (at < items.len()).then(|| items.swap_remove(at))?
            }
            _ => return None,
        };
    }
    Some(value)
}

fn contains(hit: &Hit, text: &str) -> bool {
    let found = |bytes: &[u8]| {
        let bytes = &bytes[..bytes.len().min(MAX_SEARCHED)];
        text.is_empty() || String::from_utf8_lossy(bytes).to_lowercase().contains(text)
    };
    found(hit.path().as_bytes())
        || found(hit.method.as_str().as_bytes())
        || hit.headers.iter().any(|(name, value)| found(format!("{name}: ").as_bytes()) || found(value.as_bytes()))
        || found(&hit.body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspector::testing::hit;

    #[test]
    fn all_terms_have_to_hold() {
        let hit = hit(
            "/orders/new?x=1",
            &[("webhook-id", "r-1"), ("x-team", "blue sky")],
            br#"{"id":"q-1","status":"completed","result":{"sum":42,"items":["a=b"],"done":true}}"#,
        );
        let answer = Answered { status: Some(503), what: String::new(), after: std::time::Duration::ZERO };
        let holds = |text: &str| text.parse::<Filter>().unwrap().holds(&hit, Some(&answer));
        for text in [
            "",
            "status=completed",
            "status=completed inbox=orders",
            "webhook-id=r-1 id=q-1",
            "method=post",
            "path=/orders/new",
            "path=/orders/new?x=1",
            "answer=503",
            "attempt=1",
            "signature=unsigned",
            "header.X-Team=\"blue sky\"",
            "\"blue SKY\"",
            "body.result.sum=42",
            "body.result.done=true",
            "body.result.items.0=a=b",
            "\"a=b\"",
            "status!=failed",
            "COMPLETED",
        ] {
            assert!(holds(text), "{text}");
        }
        for text in [
            "status=failed",
            "status=completed inbox=x",
            "nothing",
            "body.result.sum=4",
            "body.x.y=1",
            "status!=completed",
        ] {
            assert!(!holds(text), "{text}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        let told = |text: &str| text.parse::<Filter>().unwrap_err();
        assert!(told("state=completed").contains("no name \"state\"; use status,"));
        assert!(told("\"open").contains("not closed"));
        assert!(told(&"x".repeat(501)).contains("501 bytes"));
        assert!(told(&"x ".repeat(17)).contains("17 terms"));
    }

    #[test]
    fn hostile_bodies_are_searched_within_bounds() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for body in [deep.as_bytes(), &[0xff; 1000], &vec![b'{'; MAX_SEARCHED + 1]] {
            let hit = hit("/", &[], body);
            assert!(!"body.a=1".parse::<Filter>().unwrap().holds(&hit, None));
            assert!(!"zzz".parse::<Filter>().unwrap().holds(&hit, None));
        }
    }
}
