//! The command `trigger`, which sends sample reports to a receiver.

use postback_tests::Receiver;
use serde_json::{Value, json};

use crate::commands::{json_of, run};
use crate::support::SECRET;

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_is_tried_out_with_sample_reports() {
    let receiver = Receiver::start();
    let url = receiver.url("/in");
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("secret"), format!("# of the receiver\n{SECRET}\n")).unwrap();
    let sent = json_of(folder, &["trigger", &url, "--id", "job-7", "--secret-file", "secret"]);
    let statuses: Vec<_> = sent.as_array().unwrap().iter().map(|sent| sent["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["completed", "failed", "cancelled"]);
    let hits = receiver.all();
    assert_eq!(hits.len(), 3);
    for (hit, sent) in hits.iter().zip(sent.as_array().unwrap()) {
        assert_eq!((&sent["delivered"], &sent["signed"]), (&json!(true), &json!(true)));
        assert_eq!(hit.header("webhook-id"), sent["webhook_id"].as_str().unwrap());
        assert_eq!(std::str::from_utf8(&hit.body).unwrap(), sent["body"].as_str().unwrap());
        assert!(hit.header("webhook-signature").starts_with("v1,"));
        let body: Value = serde_json::from_slice(&hit.body).unwrap();
        assert_eq!((&body["id"], &body["status"]), (&json!("job-7"), &sent["status"]));
    }
    // A progress comes before the end, with a smaller number.
    let both = ["--status", "completed", "--status", "progress", "--unsigned"];
    let sent = json_of(folder, &[&["trigger", &url][..], &both].concat());
    let bodies: Vec<Value> = sent
        .as_array()
        .unwrap()
        .iter()
        .map(|sent| serde_json::from_str(sent["body"].as_str().unwrap()).unwrap())
        .collect();
    assert_eq!((&bodies[0]["status"], &bodies[1]["status"]), (&json!("progress"), &json!("completed")), "{sent}");
    assert_eq!((&bodies[0]["progress"]["fraction"], &bodies[0]["sequence"]), (&json!(0.5), &json!(1)), "{sent}");
    assert!(bodies[1]["sequence"].as_u64() > Some(1) && bodies[0]["id"] == bodies[1]["id"], "{sent}");
    // The secrets of the settings sign for their own receivers only.
    let settings =
        format!("[config]\nwebhook_url = \"https://hooks.example.com/in\"\n[delivery]\nsecrets = [{SECRET:?}]\n");
    std::fs::write(folder.join("postback.toml"), settings).unwrap();
    let sent = json_of(folder, &["trigger", &url, "--status", "failed"]);
    assert_eq!((sent.as_array().unwrap().len(), &sent[0]["signed"]), (1, &json!(false)));

    // A receiver that does not take it, and addresses that are closed to all.
    let output = run(folder, &["trigger", "http://127.0.0.1:1/in", "--status", "completed"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("not delivered") && text.contains("unsigned") && text.contains("sent       {"), "{output:?}");
    for closed in ["http://169.254.169.254/latest", "http://10.1.2.3/in"] {
        let output = run(folder, &["trigger", closed, "--status", "completed", "--json"]);
        let sent: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), &sent[0]["delivered"]), (Some(1), &json!(false)), "{sent}");
        assert!(sent[0].get("http_status").is_none() && sent[0]["error"].is_string(), "{sent}");
    }
    let output = run(folder, &["trigger", "ftp://a"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
