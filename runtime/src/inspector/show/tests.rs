//! Tests of what the terminal shows of a webhook.

use super::*;
use crate::inspector::hit::Answered;
use crate::inspector::testing::hit;

fn shown(body: &[u8]) -> String {
    let hit = hit("/hook?x=1", &[("webhook-id", "r-1")], body);
    anstream::adapter::strip_str(&webhook(&hit)).to_string()
}

#[test]
fn each_signature_is_named_with_how_often_it_is_there() {
    for (signatures, message) in [
        ("v1,a", "signed v1"),
        ("v1,a v1,b", "signed v1 twice"),
        ("v1,a v1a,c v1,b", "signed v1 twice, v1a"),
        ("v1,a v1,b v1,c", "signed v1 3 times"),
        ("a b c d e f", "signed a, b, c, d and 2 more"),
        ("", "signed with nothing"),
    ] {
        assert_eq!(signed(signatures), message, "{signatures}");
    }
    assert!(signed(&"x".repeat(10_000)).chars().count() < 60);
}

#[test]
fn a_webhook_is_shown_with_what_it_says() {
    let text = shown(br#"{"id":"q-1","status":"completed","result":{"data":"hello"},"timestamp":"t"}"#);
    assert!(text.contains("webhook POST /hook  completed q-1"), "{text}");
    assert!(text.contains("webhook-id r-1 · unsigned"), "{text}");
    assert!(text.contains("          \"result\": {\n            \"data\": \"hello\"\n"), "{text}");
}

#[test]
fn members_stay_in_their_order_and_text_as_it_is() {
    let text = shown(br#" {"z":[ ],"a":{"k":"a \\ \" b,{","e":{}},"n":[-1.50e3,true,null]} "#);
    let expected = [
        "{",
        "  \"z\": [],",
        "  \"a\": {",
        "    \"k\": \"a \\\\ \\\" b,{\",",
        "    \"e\": {}",
        "  },",
        "  \"n\": [",
        "    -1.50e3,",
        "    true,",
        "    null",
        "  ]",
        "}",
    ];
    let lines: Vec<_> = text.lines().skip(3).map(|line| line.trim_end().strip_prefix("        ").unwrap()).collect();
    assert_eq!(lines, expected);
}

#[test]
fn nothing_reaches_the_terminal_that_it_would_obey() {
    for body in [&b"\x1b[2Jgone\x07"[..], br#"{"id":"\u001b[2J\u0007\u202e","status":"\u009b"}"#] {
        let hit = hit("/", &[], body);
        let answer = Answered { status: None, what: "\x1b[2J".to_owned(), after: std::time::Duration::ZERO };
        let text = format!("{}{}{}", webhook(&hit), line::compact(&hit, &answer), line::json(&hit, &answer));
        assert!(!text.contains("\x1b[2J") && !text.contains(['\x07', '\u{9b}', '\u{202e}']), "{text:?}");
    }
}

#[test]
fn large_bodies_are_cut_short() {
    let many = serde_json::to_vec(&vec![1; 500]).unwrap();
    assert!(shown(&many).contains("… 442 more lines"));
    let long = serde_json::to_vec(&"x".repeat(5_000)).unwrap();
    assert!(shown(&long).contains("4602 more characters"));
    assert!(shown("line\n".repeat(500).as_bytes()).contains("… 440 more lines"));
    assert!(shown("x".repeat(5_000).as_bytes()).contains("more characters"));
}

#[test]
fn what_is_shown_is_bounded_whatever_is_sent() {
    const MANY: usize = 1 << 20;
    let wide = format!("{}[{}0]{}", "[".repeat(100), "0,".repeat(MANY), "]".repeat(100));
    let deep = format!("{}{}", "[".repeat(MANY), "]".repeat(MANY));
    let digits = "1".repeat(MANY);
    let keys = format!("{{{}\"id\":\"q-1\"}}", "\"x\":{\"y\":[0]},".repeat(MANY / 16));
    let long = format!("{{\"id\":\"{0}\",\"status\":\"{0}\"}}", "x".repeat(MANY));
    let zeros = "\0".repeat(MANY);
    for body in [wide, deep, digits, keys, long, zeros] {
        let text = shown(body.as_bytes());
        assert!(text.len() < 100_000 && text.lines().count() <= MAX_LINES + 4, "{} bytes", text.len());
    }
}
