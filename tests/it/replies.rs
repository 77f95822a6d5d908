//! Results that are kept outside the store: replies with a content type of their own, and large JSON.

mod s3;

use std::path::Path;

use postback_tests::{Process, Receiver, eventually_async};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use self::s3::Bucket;
use crate::support::Server;

/// Posts a request, and returns the answer about it when it has ended.
async fn ended(server: &Server, route: &str, payload: Value) -> Value {
    let id = server.submit(route, payload).await;
    server.settled(route, &id).await
}

async fn get(server: &Server, path: &str) -> reqwest::Response {
    server.client.get(server.path(path)).send().await.unwrap()
}

/// Returns the names of the results in a folder, without the mark of the store.
fn kept(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != ".postback-store").collect()
}

fn digest(bytes: &[u8]) -> String {
    shown(Sha256::new_with_prefix(bytes))
}

/// Returns a digest as the header `repr-digest` has it.
fn shown(sha: Sha256) -> String {
    use base64::Engine as _;
    format!("sha-256=:{}:", base64::prelude::BASE64_STANDARD.encode(sha.finalize()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_served_as_what_it_is_and_described_where_it_would_stand() {
    let receiver = Receiver::start();
    let config = format!("[config]\nwebhook_url = {:?}\n", receiver.url("/in"));
    for more in ["", "[store]\nurl = \"memory:\"\n", "[results]\nserver_url = \"https://jobs.example.com/\"\n"] {
        let server = Server::start(&format!("{config}{more}"));
        std::fs::write(server.folder.path().join("picture"), "a picture").unwrap();
        let cases = [("bytes", "image/png", &b"\x89PNG and so on"[..]), ("file", "text/html", b"a picture")];
        for (kind, content_type, bytes) in cases {
            let status = ended(&server, "/reply", json!({"kind": kind, "content_type": content_type})).await;
            let id = status["id"].as_str().unwrap();
            let path = format!("/reply/{id}/result");
            let base = if more.contains("jobs") { "https://jobs.example.com" } else { "" };
            let described = json!({
                "result_url": format!("{base}{path}"), "size": bytes.len(), "content_type": content_type,
                "digest": digest(bytes), "version": 1,
            });
            assert_eq!((&status["status"], &status["result"]), (&json!("completed"), &described));
            assert_eq!(receiver.wait_for(id).json()["result"], described);

            let answer = get(&server, &path).await;
            assert_eq!(answer.status(), 200);
            let headers = answer.headers().clone();
            for (name, value) in [
                ("content-type", content_type),
                ("repr-digest", &*digest(bytes)),
                ("x-content-type-options", "nosniff"),
                ("content-security-policy", "default-src 'none'; sandbox"),
                ("content-length", &*bytes.len().to_string()),
            ] {
                assert_eq!(headers[name], value, "{name}");
            }
            assert_eq!(answer.bytes().await.unwrap(), bytes);
            let part = server.client.get(server.path(&path)).header("range", "bytes=1-3").send().await.unwrap();
            assert_eq!((part.status().as_u16(), &part.headers()["content-type"]), (206, &headers["content-type"]));
            assert_eq!(part.bytes().await.unwrap(), bytes[1..4]);
            let again = server.client.get(server.path(&path)).header("if-none-match", &headers["etag"]);
            assert_eq!(again.send().await.unwrap().status(), 304);
            let head = server.client.head(server.path(&path)).send().await.unwrap();
            assert_eq!((head.status().as_u16(), &head.headers()["content-length"]), (200, &headers["content-length"]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_stream_is_kept_and_served_in_little_memory() {
    let server = Server::start("");
    let (before, mib) = (server.process.resident_mib(), 200);
    let status = ended(&server, "/reply", json!({"kind": "stream", "pieces": mib, "content_type": "x/y"})).await;
    assert_eq!(status["result"]["size"], json!(mib << 20));
    let mut answer = get(&server, status["result"]["result_url"].as_str().unwrap()).await;
    let (mut size, mut sha) = (0, Sha256::new());
    while let Some(piece) = answer.chunk().await.unwrap() {
        size += piece.len();
        sha.update(&piece);
    }
    assert_eq!(size, mib << 20);
    assert_eq!(status["result"]["digest"], shown(sha));
    let more = server.process.resident_mib().saturating_sub(before);
    assert!(more < 64, "{more} MiB more");
    // What the stream was written to first has no name, so that a kill leaves nothing.
    assert_eq!(kept(&server.folder.path().join("workload.db.results")).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_fails_and_says_why() {
    let server = Server::start("[results]\nmax_size = \"2MiB\"\n");
    for (payload, why) in [
        (json!({"kind": "missing", "content_type": "x/y"}), "its file no-such-file cannot be read"),
        (json!({"kind": "stream", "pieces": 3, "content_type": "x/y"}), "more than 2097152 bytes (results.max_size)"),
        (json!({"kind": "bytes", "content_type": "x\ny"}), "no value of a header"),
    ] {
        let status = ended(&server, "/reply", payload).await;
        assert_eq!(status["status"], "failed");
        let log = server.process.output();
        assert!(log.contains(why), "{why}: {log}");
    }
    assert_eq!(kept(&server.folder.path().join("workload.db.results")), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_that_is_too_large_for_the_store_is_kept_elsewhere() {
    let server = Server::start("[server]\npublic = [\"metrics\"]\n[store]\nmax_inline = \"1KiB\"\n");
    let small = ended(&server, "/large", json!(1_000)).await;
    assert_eq!(small["result"].as_str().unwrap().len(), 1_000);
    let large = ended(&server, "/large", json!(1_023)).await;
    assert_eq!(
        (&large["result"]["size"], &large["result"]["content_type"]),
        (&json!(1_025), &json!("application/json"))
    );
    let answer = get(&server, large["result"]["result_url"].as_str().unwrap()).await;
    assert_eq!(answer.json::<String>().await.unwrap().len(), 1_023);
    let metrics = get(&server, "/metrics").await.text().await.unwrap();
    assert!(metrics.contains("postback_results_kept_total{route=\"/large\"} 1"), "{metrics}");
    assert!(metrics.contains("postback_results_kept_bytes_total{route=\"/large\"} 1025"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_only_looks_as_if_it_were_elsewhere_opens_nothing() {
    let server = Server::start("");
    let secret = ended(&server, "/reply", json!({"kind": "bytes", "content_type": "x/y"})).await;
    let forged = secret["result"].clone();
    let id = server.submit("/forged", forged.clone()).await;
    assert_eq!(server.settled("/forged", &id).await["result"], forged);
    let answer = get(&server, &format!("/forged/{id}/result")).await;
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.json::<Value>().await.unwrap(), forged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_takes_nothing_keeps_the_request_in_progress_until_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("results");
    std::fs::write(&place, "not a folder").unwrap();
    let settings = format!("[results]\nurl = \"file://{}\"\n[worker]\nconcurrency = 1\n", place.display());
    let mut server = Server::start(&settings);
    server.process.wait_for("results cannot be kept in");
    let id = server.submit("/reply", json!({"kind": "bytes", "content_type": "x/y"})).await;
    server.process.wait_for(&format!("the result of {id} cannot be kept, trying again"));
    assert_eq!(server.status("/reply", &id).await["status"], "in_progress");
    // It keeps its slot, so that no more results than that wait for the place. And it can be cancelled.
    let next = server.submit("/reply", json!({"kind": "bytes", "content_type": "x/y"})).await;
    assert_eq!(server.status("/reply", &next).await["status"], "in_queue");
    server.client.delete(server.path(&format!("/reply/{id}"))).send().await.unwrap();
    assert_eq!(server.settled("/reply", &id).await["status"], "cancelled");
    server.process.wait_for(&format!("the result of {next} cannot be kept, trying again"));
    std::fs::remove_file(&place).unwrap();
    assert_eq!(server.settled("/reply", &next).await["status"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_takes_results_in_parts_signs_their_urls_and_may_refuse_for_a_while() {
    let bucket = Bucket::start().await;
    let settings = "[results]\nurl = \"s3://bucket/pre/fix\"\n[shutdown]\ngrace = \"1s\"\n";
    let mut server = Server::start_with(settings, &bucket.variables());
    let status = ended(&server, "/reply", json!({"kind": "stream", "pieces": 20, "content_type": "x/y"})).await;
    let id = status["id"].as_str().unwrap();
    let result = &status["result"];
    assert_eq!((&result["size"], bucket.parts()), (&json!(20 << 20), 3));
    let signed = result["result_url"].as_str().unwrap();
    assert!(signed.starts_with(&bucket.url) && signed.contains("X-Amz-Signature="), "{signed}");
    assert!(result["expires"].is_string());
    let from_bucket = server.client.get(signed).send().await.unwrap().bytes().await.unwrap();
    let from_server = get(&server, &format!("/reply/{id}/result")).await.bytes().await.unwrap();
    assert!(from_bucket == from_server && digest(&from_server) == *result["digest"].as_str().unwrap());
    assert_eq!(bucket.names(), ["pre/fix/.postback-store".to_owned(), format!("pre/fix/{id}.e1")]);

    bucket.refuse(true);
    let id = server.submit("/reply", json!({"kind": "bytes", "content_type": "x/y"})).await;
    server.process.wait_for(&format!("the result of {id} cannot be kept, trying again"));
    // The outcome is not lost with the server: the request runs again.
    server.stop();
    bucket.refuse(false);
    server.restart_with(&bucket.variables());
    assert_eq!(server.settled("/reply", &id).await["status"], "completed");
    eventually_async("both results", async || match bucket.names().len() {
        3 => Ok(()),
        n => Err(n),
    })
    .await;
}

/// Starts a server that does not start, because its results would be in the place of another store.
fn refused(folder: &Path, variables: &[(&str, &str)]) -> String {
    let arguments = ["serve", "--listen", "127.0.0.1:0"];
    let mut process = Process::start(env!("CARGO_BIN_EXE_workload"), folder, &arguments, variables);
    assert_eq!(process.ended().code(), Some(1), "{}", process.output());
    let said = process.output();
    assert!(said.contains("belongs to another store") && said.contains("delete .postback-store there"), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn two_stores_do_not_share_a_place() {
    let shared = tempfile::tempdir().unwrap();
    let (place, bucket) = (shared.path().join("results"), Bucket::start().await);
    let of_folder = format!("[results]\nurl = \"file://{}\"\n", place.display());
    for (settings, variables) in
        [(of_folder.as_str(), &[][..]), ("[results]\nurl = \"s3://bucket/a\"\n", &bucket.variables())]
    {
        let mut server = Server::start_with(settings, variables);
        let status = ended(&server, "/reply", json!({"kind": "bytes", "content_type": "x/y"})).await;
        assert_eq!(status["status"], "completed", "{status}");
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("postback.toml"), settings).unwrap();
        let said = refused(other.path(), variables);
        assert!(said.contains("results.url: "), "{said}");
        // A store in memory would delete the results, too.
        std::fs::write(other.path().join("postback.toml"), format!("store.url = \"memory:\"\n{settings}")).unwrap();
        refused(other.path(), variables);
        // The store itself starts again, and its result is still there.
        server.stop();
        server.restart_with(variables);
        let id = status["id"].as_str().unwrap();
        assert_eq!(get(&server, &format!("/reply/{id}/result")).await.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_database_takes_the_folder_beside_it() {
    let mut server = Server::start("");
    ended(&server, "/reply", json!({"kind": "bytes", "content_type": "x/y"})).await;
    server.stop();
    for entry in std::fs::read_dir(server.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && path.to_string_lossy().contains("workload.db") {
            std::fs::remove_file(path).unwrap();
        }
    }
    server.restart();
    server.process.wait_for("which was beside it before");
    let status = ended(&server, "/reply", json!({"kind": "bytes", "content_type": "x/y"})).await;
    assert_eq!(status["status"], "completed", "{status}");
}
