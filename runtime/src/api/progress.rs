//! How far a run has come, as callers see it: the member `progress` of a status, and the data of an event.

use serde_json::json;

use postback_store::Progress;

/// Makes the JSON object of a progress, on one line.
pub(super) fn object(progress: &Progress) -> String {
    let Progress { sequence, told, .. } = progress;
    // The detail is JSON already. The handler's value has made it, so it is not read again.
    let detail = told.detail.as_ref().map_or("null".into(), |detail| String::from_utf8_lossy(detail.bytes()));
    let (fraction, message, at) = (json!(told.fraction), json!(told.message), told.at);
    format!(
        "{{\"fraction\":{fraction},\"message\":{message},\"detail\":{detail},\"at\":\"{at}\",\"sequence\":{sequence}}}"
    )
}

/// Makes the JSON member `progress`, as text that begins with a comma. It is null if the run has told nothing.
pub(super) fn member(progress: Option<&Progress>) -> String {
    format!(",\"progress\":{}", progress.map_or_else(|| "null".to_owned(), object))
}

#[cfg(test)]
mod tests {
    use postback_store::Told;
    use postback_wire::report::Json;
    use postback_wire::time::Timestamp;

    use super::*;

    fn progress(told: Told) -> Progress {
        Progress { epoch: 2, sequence: 7, told }
    }

    #[test]
    fn all_members_are_always_there() {
        let at = Timestamp::from_micros(1);
        let full = Told {
            fraction: Some(0.5),
            message: Some("half\n\"\u{1f980}".to_owned()),
            detail: Some(Json::stored(&b"[1, {}]"[..])),
            at,
        };
        let time = "1970-01-01T00:00:00.000001Z";
        let expected = r#"{"fraction":0.5,"message":"half\n\"🦀","detail":[1, {}],"at":"TIME","sequence":7}"#;
        assert_eq!(object(&progress(full)), expected.replace("TIME", time));
        let empty = Told { fraction: None, message: None, detail: None, at };
        let expected = r#","progress":{"fraction":null,"message":null,"detail":null,"at":"TIME","sequence":7}"#;
        assert_eq!(member(Some(&progress(empty))), expected.replace("TIME", time));
        assert_eq!(member(None), ",\"progress\":null");
    }
}
