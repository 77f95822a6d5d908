//! `/openapi.json` and the command that prints it.

use std::process::Command;

use reqwest::StatusCode;
use serde_json::Value;

use crate::support::Server;

/// Runs the command `openapi` in a folder with these settings. Returns what it prints, and its exit code.
fn printed(settings: &str) -> (String, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("postback.toml"), settings).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_workload")).arg("openapi").current_dir(&folder).output().unwrap();
    // The command opens no database.
    assert!(!folder.path().join("workload.db").exists());
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_prints_what_the_server_serves() {
    let settings = "[config]\nwebhook_url = \"https://hooks.example.com/s3cret\"\n";
    let server = Server::start(settings);
    let response = server.client.get(server.path("/openapi.json")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    let served = response.text().await.unwrap();
    assert_eq!(printed(settings), (served.clone(), Some(0)));
    assert!(!served.contains("s3cret") && !served.contains("hooks.example.com"));
    let document: Value = serde_json::from_str(&served).unwrap();
    assert_eq!(document["info"]["title"], "workload");
    assert_eq!(document["paths"]["/echo/{id}"]["get"]["operationId"], "get_echo");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_the_document_does_not_get_it_again() {
    let server = Server::start("");
    let get = || server.client.get(server.path("/openapi.json"));
    let etag = get().send().await.unwrap().headers()["etag"].clone();
    let known = get().header("if-none-match", &etag).send().await.unwrap();
    assert_eq!((known.status(), &known.headers()["etag"]), (StatusCode::NOT_MODIFIED, &etag));
    assert_eq!(known.bytes().await.unwrap().len(), 0);
    let other = get().header("if-none-match", "\"other\"").send().await.unwrap();
    assert_eq!(other.status(), 200);
    let head = server.client.head(server.path("/openapi.json")).send().await.unwrap();
    assert_eq!((head.status(), &head.headers()["etag"]), (StatusCode::OK, &etag));
}

#[test]
fn the_command_tells_what_is_wrong_with_the_settings() {
    assert_eq!(printed("[server]\nlisten = 1\n"), (String::new(), Some(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_says_what_a_route_takes_and_returns() {
    let (document, _) = printed("");
    let document: Value = serde_json::from_str(&document).unwrap();
    let schema = |path: &str| {
        let content = &document["paths"][path]["post"]["requestBody"]["content"]["application/json"];
        let name = content["schema"]["$ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        document["components"]["schemas"][name].clone()
    };
    let order = schema("/described");
    assert_eq!(order["required"], serde_json::json!(["text", "size"]));
    assert_eq!(order["description"], "A payload with a schema.");
    let example = &document["paths"]["/described"]["post"]["requestBody"]["content"]["application/json"]["example"];
    assert_eq!(example["size"], "large");
    let result = &document["components"]["schemas"]["PostbackDescribedStatus"]["properties"]["result"];
    assert_eq!(result["$ref"], "#/components/schemas/Bill");
    // A route without a schema takes any JSON.
    assert_eq!(schema("/echo").get("type"), None);
}
