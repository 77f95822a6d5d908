//! Handlers that take forms with files.

use std::path::Path;

use postback_tests::{Receiver, eventually_async};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::Server;

const ROUTE: &str = "/choosing/files";
const LARGE: usize = (1 << 20) + 1;

async fn accepted(server: &Server, form: Form) -> String {
    let answer = server.client.post(server.path(ROUTE)).multipart(form).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
}

/// Posts a body as it is. Returns the status, the header `accept` of the answer, and the problem.
async fn refused(server: &Server, content_type: &str, body: &'static [u8]) -> (u16, Option<String>, Value) {
    let post = server.client.post(server.path(ROUTE)).body(body).header("content-type", content_type);
    let answer = post.header("accept", "application/problem+json").send().await.unwrap();
    let accept = answer.headers().get("accept").map(|value| value.to_str().unwrap().to_owned());
    (answer.status().as_u16(), accept, answer.json().await.unwrap())
}

fn files() -> Form {
    let large = Part::bytes(vec![7; LARGE]).file_name("../large.bin").mime_str("image/png").unwrap();
    Form::new().part("file", large).part("file", Part::bytes(vec![0xff, 0]).file_name("naïve.txt"))
}

#[tokio::test(flavor = "multi_thread")]
async fn large_files_are_on_disk_for_the_time_of_the_run() {
    let receiver = Receiver::start();
    let server = Server::reporting_to(&receiver.url("/"));
    let id = accepted(&server, files()).await;
    let report = receiver.wait_for(&id).json();
    let [large, small] = &report["result"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((&large["name"], &large["size"]), (&json!("large.bin"), &json!(LARGE)));
    assert_eq!(small, &json!({"name": "naïve.txt", "size": 2, "path": null}));
    // The handler has read it from there.
    let path = Path::new(large["path"].as_str().unwrap());
    assert!(!path.exists() && !path.parent().unwrap().exists(), "{}", path.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_removed_after_a_panic() {
    let receiver = Receiver::start();
    let server = Server::reporting_to(&receiver.url("/"));
    let id = accepted(&server, files().text("seen", "seen.json").text("panics", "")).await;
    assert_eq!(receiver.wait_for(&id).json()["status"], "failed");
    let seen = std::fs::read(server.folder.path().join("seen.json")).unwrap();
    let seen: Value = serde_json::from_slice(&seen).unwrap();
    assert!(!Path::new(seen[0]["path"].as_str().unwrap()).exists(), "{seen}");
}

/// Makes a folder look as if nothing had changed in it for two hours.
fn age(folder: &Path) {
    let old = std::time::SystemTime::now() - std::time::Duration::from_hours(2);
    std::fs::File::open(folder).unwrap().set_modified(old).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_a_killed_process_are_deleted_and_those_of_others_stay() {
    let temporary = tempfile::tempdir().unwrap();
    let variables = [("TMPDIR", temporary.path().to_str().unwrap())];
    let [mut killed, runs] = [(); 2].map(|()| Server::start_with("", &variables));
    let mut folders = Vec::new();
    for server in [&killed, &runs] {
        accepted(server, files().text("seen", "seen.json").text("waits", "")).await;
        let seen = server.folder.path().join("seen.json");
        let seen = eventually_async("the files", async || {
            let text = std::fs::read(&seen).map_err(|error| error.to_string())?;
            serde_json::from_slice::<Value>(&text).map_err(|error| error.to_string())
        })
        .await;
        folders.push(Path::new(seen[0]["path"].as_str().unwrap()).parent().unwrap().to_owned());
    }
    let of_others = temporary.path().join("postback-notes");
    std::fs::create_dir(&of_others).unwrap();
    killed.process.kill();
    let all = [folders[0].as_path(), &folders[1], &of_others];
    all.into_iter().for_each(age);
    killed.restart_with(&variables);
    killed.process.wait_for("deleted 1 folders with files of forms");
    assert_eq!(all.map(Path::exists), [false, true, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_form_with_parts_is_refused() {
    let server = Server::start("");
    let part = b"--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\xff\r\n--XX--\r\n";
    let right = "multipart/form-data; boundary=XX";
    for (content_type, body, status, code, says) in [
        ("application/json", &b"{}"[..], 415, "unsupported_media_type", "takes multipart/form-data"),
        ("multipart/form-data", part, 400, "malformed_payload", "has no `boundary=`"),
        (right, b"", 400, "malformed_payload", "part 1 is cut short"),
        (right, &part[..part.len() - 10], 400, "malformed_payload", "part 1 is cut short"),
        (right, part, 422, "invalid_payload", "a: the text is not UTF-8"),
    ] {
        let (is, accept, problem) = refused(&server, content_type, body).await;
        assert_eq!((is, &problem["code"]), (status, &code.into()), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
        assert_eq!(accept.as_deref(), (status == 415).then_some("multipart/form-data"));
    }
    let document: Value = server.client.get(server.path("/openapi.json")).send().await.unwrap().json().await.unwrap();
    let content = &document["paths"][ROUTE]["post"]["requestBody"]["content"];
    assert_eq!(content["multipart/form-data"]["schema"]["type"], "object", "{content}");
}
