//! Tests of the bytes of reports.

use super::*;

const AT: Timestamp = Timestamp::from_micros(1_795_420_800_123_456);

fn completed(result: &impl Serialize) -> String {
    let outcome = Outcome::completed(Json::of(result).unwrap(), AT);
    String::from_utf8(outcome.to_report("id-1").to_vec()).unwrap()
}

#[test]
fn a_completed_report_has_exactly_these_members_in_this_order() {
    let body = completed(&serde_json::json!({"data": "hello"}));
    let expected =
        r#"{"id":"id-1","status":"completed","result":{"data":"hello"},"timestamp":"2026-11-23T08:00:00.123456Z"}"#;
    assert_eq!(body, expected);
}

#[test]
fn without_a_result_there_is_no_timestamp_either() {
    let bare = r#"{"id":"id-1","status":"completed"}"#;
    assert_eq!(completed(&()), bare);
    assert_eq!(completed(&None::<u8>), bare);
    assert_eq!(completed(&serde_json::Value::Null), bare);
    assert!(completed(&serde_json::json!({})).contains(r#""result":{}"#));
}

#[test]
fn a_failed_report_tells_no_detail_unless_asked_to() {
    let mut outcome = Outcome::failed(Reason::Error, Some("secret detail".into()), AT);
    assert_eq!(outcome.to_report("id-1"), r#"{"id":"id-1","status":"failed"}"#);
    outcome.error = Some(Json::string("no \"such\" file"));
    assert_eq!(outcome.to_report("id-1"), r#"{"id":"id-1","status":"failed","error":"no \"such\" file"}"#);
}

#[test]
fn an_id_is_escaped() {
    let outcome = Outcome::failed(Reason::Error, None, AT);
    assert_eq!(outcome.to_report("a\"b\n"), "{\"id\":\"a\\\"b\\n\",\"status\":\"failed\"}");
}

#[test]
fn a_reason_is_told_of_each_end_but_completed_and_only_if_asked_for() {
    let mut outcome = Outcome::failed(Reason::Timeout, Some("secret detail".into()), AT);
    outcome.tells_reason = true;
    assert_eq!(outcome.to_report("id-1"), r#"{"id":"id-1","status":"failed","reason":"timeout"}"#);
    outcome.error = Some(Json::string("too late"));
    let body = r#"{"id":"id-1","status":"failed","reason":"timeout","error":"too late"}"#;
    assert_eq!(outcome.to_report("id-1"), body);
    outcome.tells_reason = false;
    assert_eq!(outcome.to_report("id-1"), r#"{"id":"id-1","status":"failed","error":"too late"}"#);

    let cancelled = Outcome { tells_reason: true, ..Outcome::cancelled(AT) };
    assert_eq!(cancelled.to_report("id-1"), r#"{"id":"id-1","status":"cancelled","reason":"cancelled"}"#);
    let completed = Outcome { tells_reason: true, ..Outcome::completed(None, AT) };
    assert_eq!(completed.to_report("id-1"), r#"{"id":"id-1","status":"completed"}"#);
}
