//! Tests of the programs in `examples/`. They are started as a user starts them.

use std::path::Path;

use postback_tests::{Process, Receiver, client, eventually_async, example};
use serde_json::{Value, json};

const PICTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/thumbnails/");

#[tokio::test(flavor = "multi_thread")]
async fn quickstart_does_what_its_start_lines_say() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--inspect=127.0.0.1:0"];
    let mut process = Process::start(example("quickstart"), folder.path(), &arguments, &[]);
    let url = process.ready();
    let output = process.output();
    assert!(output.contains("POST /greet") && output.contains("quickstart::greet"), "{output}");
    assert!(output.contains("examples/quickstart.rs:"), "{output}");
    assert!(output.contains("config.webhook_url was not set, and is now this URL"), "{output}");
    let try_line = output.lines().find(|line| line.trim_start().starts_with("try")).unwrap();
    assert!(
        try_line.contains(&format!(r#"curl -d '{{"name":"Ada"}}' -H 'content-type: application/json' {url}/greet"#)),
        "{try_line}"
    );

    let answer: Value =
        client().post(format!("{url}/greet")).json(&json!({"name": "Ada"})).send().await.unwrap().json().await.unwrap();
    let id = answer["id"].as_str().unwrap();
    // The inspector prints the webhook, and the log prints the line about the request.
    let output = process.wait_for(&format!("completed {id}"));
    assert!(output.contains("\"data\": \"hello Ada\""), "{output}");
    process.wait_for("delivered 204");
    assert!(folder.path().join("quickstart.db").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn quickstart_fails_when_asked_to() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let variables = [("POSTBACK_CONFIG__WEBHOOK_URL", receiver.url("/"))];
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut process = Process::start(example("quickstart"), folder.path(), &["--listen", "127.0.0.1:0"], &variables);
    let url = process.ready();
    let payload = json!({"name": "Ada", "work_ms": 10, "fail": true});
    let answer: Value =
        client().post(format!("{url}/greet")).json(&payload).send().await.unwrap().json().await.unwrap();
    let id = answer["id"].as_str().unwrap();
    assert_eq!(receiver.wait_for(id).json(), json!({"id": id, "status": "failed"}));
    process.wait_for("Ada cannot be greeted today");
}

#[test]
fn quickstart_without_a_webhook_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(example("quickstart"), folder.path(), &["--listen", "127.0.0.1:0"], &[]);
    assert_eq!(process.ended().code(), Some(2));
    let output = process.wait_for("error: ");
    assert!(output.contains("config.webhook_url") && output.contains("serve --inspect"), "{output}");
}

async fn thumbnail(url: &str, webhook: &str, file: Vec<u8>, content_type: &str) -> String {
    let post = client().post(format!("{url}/thumbnail")).header("content-type", content_type);
    let answer = post.header("x-webhook-url", webhook).body(file).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    answer["id"].as_str().unwrap().to_owned()
}

/// Reads width and height of a JPEG from the header of its frame.
fn jpeg_size(jpeg: &[u8]) -> (u16, u16) {
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).expect("a JPEG");
    let number = |at: usize| u16::from_be_bytes([jpeg[frame + at], jpeg[frame + at + 1]]);
    (number(7), number(5))
}

#[tokio::test(flavor = "multi_thread")]
async fn thumbnails_are_made_of_real_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    // The caller chooses the URL, so the private network of the receiver must be allowed.
    std::fs::write(folder.path().join("postback.toml"), "delivery.allow_networks = [\"127.0.0.0/8\"]\n").unwrap();
    let mut process = Process::start(example("thumbnails"), folder.path(), &["--listen", "127.0.0.1:0"], &[]);
    let url = process.ready();
    let read = |name: &str| std::fs::read(Path::new(PICTURES).join(name)).unwrap();
    let webhook = receiver.url("/mine/1");

    for (file, content_type, size) in
        [("landscape.jpg", "image/jpeg", (160, 107)), ("tiles.png", "image/png", (120, 160))]
    {
        let id = thumbnail(&url, &webhook, read(file), content_type).await;
        let result = receiver.wait_for(&id).json()["result"].take();
        let picture = client().get(format!("{url}{}", result["result_url"].as_str().unwrap())).send().await.unwrap();
        assert_eq!(picture.headers()["content-type"], "image/jpeg");
        let jpeg = picture.bytes().await.unwrap();
        assert_eq!((&result["size"], jpeg_size(&jpeg)), (&json!(jpeg.len()), size), "{file}");
    }

    let id = thumbnail(&url, &webhook, b"not a picture".to_vec(), "image/png").await;
    let report = receiver.wait_for(&id).json();
    assert_eq!(report["status"], "failed");
    assert!(report["error"].as_str().unwrap().contains("cannot be read as a PNG or JPEG"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn library_reports_behind_its_answers_and_flushes_on_exit() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let arguments = [&receiver.url("/orders"), "127.0.0.1:0"];
    let mut process = Process::start(example("library"), folder.path(), &arguments, &[]);
    let output = process.wait_for("library ready on ");
    let line = output.lines().find(|line| line.contains("library ready on ")).unwrap();
    let url = line.split("library ready on ").nth(1).unwrap().trim().to_owned();

    let order = |order: &str, copies: u32| {
        client().post(format!("{url}/orders")).json(&json!({"order": order, "copies": copies}))
    };
    let answer: Value = order("7", 3).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer, json!({"pages": 36}));
    let report = receiver.wait_for("7").json();
    assert_eq!((&report["status"], &report["result"]), (&json!("completed"), &json!({"pages": 36})));
    order("8", 0).send().await.unwrap();
    assert_eq!(
        receiver.wait_for("8").json(),
        json!({"id": "8", "status": "failed", "reason": "error", "error": "nothing was ordered"})
    );

    eventually_async("an answer", async || order("9", 1).send().await).await;
    process.interrupt();
    assert_eq!(process.ended().code(), Some(0));
    assert!(process.output().contains("reports: "), "{}", process.output());
    receiver.wait_for("9");
}

#[tokio::test(flavor = "multi_thread")]
async fn batch_gives_each_text_its_own_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let variables = [("POSTBACK_CONFIG__WEBHOOK_URL", receiver.url("/"))];
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut process = Process::start(example("batch"), folder.path(), &["--listen", "127.0.0.1:0"], &variables);
    let url = process.ready();
    let post = async |text: String| {
        let answer = client().post(format!("{url}/embed")).json(&text).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer["id"].as_str().unwrap().to_owned()
    };
    let ids = futures_util::future::join_all((0..32).map(|n| post(format!("text {n}")))).await;
    let reports: Vec<Value> = ids.iter().map(|id| receiver.wait_for(id).json()).collect();
    assert!(reports.iter().all(|report| report["status"] == "completed"), "{reports:?}");
    let sizes = reports.iter().map(|report| report["result"]["batch"].as_u64().unwrap());
    assert!(sizes.max().unwrap() <= 16, "{reports:?}");

    let empty = post(String::new()).await;
    assert_eq!(receiver.wait_for(&empty).json(), json!({"id": empty, "status": "failed"}));
    process.wait_for("the text is empty");
}

#[tokio::test(flavor = "multi_thread")]
async fn schedule_runs_each_tick_once_and_lists_its_schedules() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let program = env!("CARGO_BIN_EXE_schedule");
    let variables = [("POSTBACK_CONFIG__WEBHOOK_URL", receiver.url("/"))];
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut process = Process::start(program, folder.path(), &["--listen", "127.0.0.1:0"], &variables);
    let url = process.ready();
    let output = process.output();
    assert!(output.contains("30 2 * * * (Europe/Berlin), next 20"), "{output}");

    // The schedule is due every ten seconds.
    let report = receiver.wait(1).remove(0).json();
    let id = report["id"].as_str().unwrap();
    assert!(id.starts_with("postback-cron-measure-"), "{report}");
    assert_eq!(report["status"], "completed", "{report}");
    let answer: Value = client().get(format!("{url}/cron/measure/{id}")).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer, report);

    let mut list = Process::start(program, folder.path(), &["cron", "list", "--json"], &variables);
    let schedules: Value = serde_json::from_str(&list.text()).unwrap();
    let [clean_up, measure] = schedules.as_array().unwrap().as_slice() else { panic!("{schedules}") };
    assert_eq!((&clean_up["route"], &clean_up["missed"]), (&json!("/cron/clean_up"), &json!("once")));
    assert_eq!((&measure["time_zone"], &measure["missed"]), (&json!("UTC"), &json!("skip")));
    assert!(measure["last"].is_string() && measure["next"].as_array().unwrap().len() == 3, "{measure}");
    let mut list = Process::start(program, folder.path(), &["cron", "list"], &variables);
    let text = list.text();
    assert!(text.contains("/cron/measure   */10 * * * * *  UTC"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn resume_goes_on_where_it_was_after_kill() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let variables = [("POSTBACK_CONFIG__WEBHOOK_URL", receiver.url("/"))];
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let start = || Process::start(example("resume"), folder.path(), &["--listen", "127.0.0.1:0"], &variables);
    let post = async |url: &str, payload: Value| {
        let answer = client().post(format!("{url}/import")).json(&payload).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let mut process = start();
    let url = process.ready();
    // The server is killed before the last step.
    let id = post(&url, json!({"steps": 50, "step_ms": 100})).await;
    eventually_async("some progress", async || {
        let url = format!("{url}/import/{id}?include=progress");
        let status: Value = client().get(url).send().await.unwrap().json().await.unwrap();
        if status["progress"]["fraction"].as_f64() > Some(0.0) { Ok(()) } else { Err(status) }
    })
    .await;
    process.kill();
    drop(process);
    let mut process = start();
    let url = process.ready();
    let report = receiver.wait_for(&id).json();
    assert_eq!(report["result"], json!({"steps": 50, "runs": 2}));

    let nothing = post(&url, json!({"steps": 0})).await;
    assert_eq!(receiver.wait_for(&nothing).json()["error"], "there is nothing to import");
    process.wait_for("there is nothing to import");
}

#[tokio::test(flavor = "multi_thread")]
async fn embed_runs_jobs_inside_a_service_and_ends_them_before_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = Process::start(example("embed"), folder.path(), &["127.0.0.1:0"], &[]);
    let output = process.wait_for("embed ready on ");
    let url = output.lines().find_map(|line| line.split_once("embed ready on ")).unwrap().1.trim().to_owned();
    let print = async |key: &str, pages: u32| {
        let post = client().post(format!("{url}/jobs/print")).header("x-api-key", key);
        post.json(&json!({ "pages": pages })).send().await.unwrap()
    };
    assert_eq!(print("wrong", 1).await.status(), 401, "the service's own layer");
    let answer: Value = print("secret", 2).await.json().await.unwrap();
    process.wait_for(&format!("the job {} is Completed", answer["id"].as_str().unwrap()));
    let printed = client().get(format!("{url}/printed")).header("x-api-key", "secret").send().await.unwrap();
    assert_eq!(printed.text().await.unwrap(), "2 pages\n");

    let answer: Value = print("secret", 5).await.json().await.unwrap();
    process.interrupt();
    assert_eq!(process.ended().code(), Some(0));
    let output = process.output();
    assert!(output.contains(&format!("the job {} is Completed", answer["id"].as_str().unwrap())), "{output}");
}
