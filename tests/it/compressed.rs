//! Compressed requests and answers.

use std::io::{Read as _, Write as _};

use serde_json::{Value, json};

use crate::support::Server;

const CODINGS: [&str; 2] = ["gzip", "zstd"];
const MIB: usize = 1 << 20;

fn encode(coding: &str, text: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        _ => zstd::encode_all(text, 3).unwrap(),
    }
}

fn decode(coding: &str, coded: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    match coding {
        "gzip" => flate2::read::GzDecoder::new(coded).read_to_end(&mut text).unwrap(),
        _ => zstd::stream::read::Decoder::new(coded).unwrap().read_to_end(&mut text).unwrap(),
    };
    text
}

/// Posts a body with this coding. Returns the status and the text of the answer.
async fn post(server: &Server, path: &str, coding: &str, body: Vec<u8>) -> (u16, String) {
    let post = server.client.post(server.path(path)).header("content-type", "application/json");
    let response = post.header("content-encoding", coding).header("prefer", "wait=60").body(body).send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_request_is_the_same_request() {
    let server = Server::start("[store]\nmax_inline = \"64MiB\"\n");
    server.open("gate");
    for coding in CODINGS {
        for payload in [json!(1), json!({"text": "ü".repeat(100)}), json!((0..200_000).collect::<Vec<u32>>())] {
            let (status, answer) = post(&server, "/echo", coding, encode(coding, payload.to_string().as_bytes())).await;
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert!(status == 200 && answer["result"] == payload, "{coding}");
        }
        let body = br#"{"gate":"gate"}"#;
        let (_, answer) = post(&server, "/headers", coding, encode(coding, body)).await;
        assert!(answer.contains(&format!("content-length: {}", body.len())), "{answer}");
        assert!(!answer.contains("content-encoding"), "the handler gets the body as it was: {answer}");
        let (_, answer) = post(&server, "/bytes", coding, encode(coding, &[7; 1_000])).await;
        assert!(answer.contains("\"result\":[1000,"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_compressed_request_is_told() {
    let server = Server::start("[server]\nmax_payload = \"1MiB\"\n");
    for coding in CODINGS {
        let digits: Vec<u32> = (0..100_000).map(|n: u32| n.wrapping_mul(2_654_435_761)).collect();
        let large = encode(coding, json!([digits, digits]).to_string().as_bytes());
        let mut cut = encode(coding, br#"{"text":"abc"}"#);
        cut.truncate(cut.len() - 2);
        for (body, status, says) in [
            (encode(coding, b"{"), 400, "before its value does"),
            (encode(coding, b""), 400, "the body is empty"),
            (b"{}".to_vec(), 400, "as its header content-encoding says"),
            (cut, 400, "as its header content-encoding says"),
            (encode(coding, &vec![b' '; MIB]), 413, "more than 100 times its size"),
            (large, 413, "server.max_payload"),
        ] {
            let (answered, text) = post(&server, "/wait", coding, body).await;
            assert!(answered == status && text.contains(says), "{coding} {answered}: {text}");
        }
    }
    assert_eq!(server.count("request").await, 0);
}

/// A gzip bomb of 1 MiB inflates to 1 GiB. The server must notice that early, and serve others meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn bombs_cost_little() {
    const BOMBS: usize = 200;
    const MOST_MIB: u64 = 150;
    let server = Server::start("");
    let before = server.process.resident_mib();
    for coding in CODINGS {
        let bomb = encode(coding, &vec![b' '; 200 * MIB]);
        assert!(bomb.len() < MIB);
        let all = (0..BOMBS).map(|_| post(&server, "/echo", coding, bomb.clone()));
        let all = futures_util::future::join_all(all);
        let others = async {
            for n in 0..20 {
                let id = server.submit("/echo", json!(n)).await;
                assert_eq!(server.settled("/echo", &id).await["result"], n);
            }
        };
        let (answers, ()) = futures_util::future::join(all, others).await;
        for (status, text) in answers {
            assert!(status == 413 || status == 503, "{coding} {status}: {text}");
        }
        let now = server.process.resident_mib();
        assert!(now < before + MOST_MIB, "{coding}: {now} MiB, and {before} before");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_compressed_if_the_client_asks() {
    for store in ["", "url = \"memory:\"\n"] {
        let server = Server::start(&format!("[store]\nmax_inline = \"64MiB\"\n{store}"));
        let get = async |path: &str, accepts: &str| {
            let get = server.client.get(server.path(path)).header("accept-encoding", accepts);
            let response = get.send().await.unwrap();
            let headers = response.headers().clone();
            (response.status().as_u16(), headers, response.bytes().await.unwrap().to_vec())
        };
        for length in [2_000, 12_000, 3 * MIB] {
            let text = "lorem ipsum ".repeat(length / 12);
            let id = server.submit("/echo", json!(text)).await;
            server.settled("/echo", &id).await;
            for path in [format!("/echo/{id}"), format!("/echo/{id}/result")] {
                let (_, plain, whole) = get(&path, "identity").await;
                assert!(!plain.contains_key("content-encoding") && whole.len() > length - 20);
                for coding in CODINGS {
                    let (status, headers, coded) = get(&path, coding).await;
                    assert_eq!((status, &headers["content-encoding"]), (200, &coding.parse().unwrap()), "{path}");
                    assert_eq!(
                        (&headers["vary"], &plain["vary"]),
                        (&plain["vary"], &"accept-encoding".parse().unwrap())
                    );
                    assert!(coded.len() < whole.len() / 4 && decode(coding, &coded) == whole, "{coding} {length}");
                    if path.ends_with("result") {
                        assert_ne!(headers["etag"], plain["etag"], "other bytes have another tag");
                    }
                }
            }
        }
        let id = server.submit("/echo", json!("x".repeat(500))).await;
        server.settled("/echo", &id).await;
        for path in [format!("/echo/{id}"), "/nowhere".to_owned(), format!("/echo/{id}/events")] {
            let (_, headers, _) = get(&path, "gzip, zstd").await;
            assert!(!headers.contains_key("content-encoding"), "{path}");
        }
        for _ in 0..20 {
            server.submit("/echo", json!(1)).await;
        }
        let (_, headers, coded) = get("/echo", "gzip").await;
        assert_eq!(headers["content-encoding"], "gzip");
        assert_eq!(
            serde_json::from_slice::<Value>(&decode("gzip", &coded)).unwrap()["requests"][23]["status"],
            "completed"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_compressed_result_does_not_get_it_again() {
    let server = Server::start("");
    let id = server.submit("/echo", json!("x".repeat(5_000))).await;
    server.settled("/echo", &id).await;
    let get = || server.client.get(server.path(&format!("/echo/{id}/result"))).header("accept-encoding", "zstd");
    let first = get().send().await.unwrap();
    let tag = first.headers()["etag"].clone();
    let again = get().header("if-none-match", &tag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), &again.headers()["etag"]), (304, &tag));
}
