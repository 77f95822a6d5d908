//! Reports in the forms of other services, as the programs that these services publish read them.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signature, VerifyingKey as Dalek};
use postback::{Format, Poster, Report, Secret, Webhook};
use postback_tests::{Received, Receiver, python};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The packages of Replicate and of CloudEvents.
pub const PACKAGES: [&str; 2] = ["replicate==1.0.7", "cloudevents==2.2.0"];

/// Delivers a report in each form, signed with these secrets. Returns them in the order of [`Format::ALL`].
fn delivered(secrets: &[Secret]) -> Vec<Received> {
    let receiver = Receiver::start();
    let url = receiver.url("/in");
    let poster = secrets.iter().cloned().fold(Poster::builder().trust(&url), postback::PosterBuilder::secret);
    let (poster, _guard) = poster.format(Format::Fal).start().expect("a poster");
    for format in Format::ALL {
        let report = Report::completed(format, &json!({"text": "grün", "n": 1})).expect("a report");
        let webhook = Webhook::new(&url).expect("a URL");
        // One of them is the form of the poster.
        let webhook = if format == Format::Fal { webhook } else { webhook.format(format) };
        poster.post(&webhook, &report).expect("room");
    }
    receiver.wait(Format::ALL.len());
    let found = |format: Format| {
        let all = receiver.all();
        let is_it = |one: &&Received| String::from_utf8_lossy(&one.body).contains(&format!("\"{format}\""));
        all.iter().find(is_it).expect("the report").clone()
    };
    Format::ALL.map(found).to_vec()
}

pub fn each_form_has_its_members_and_its_content_type() {
    let webhooks = delivered(&[Secret::generate()]);
    let [cortex, standard, event, replicate, runpod, fal] = &webhooks[..] else { panic!("six") };
    let json: Vec<Value> = webhooks.iter().map(Received::json).collect();
    let result = json!({"text": "grün", "n": 1});
    assert_eq!((&json[0]["status"], &json[0]["result"]), (&json!("completed"), &result));
    assert_eq!((&json[1]["type"], &json[1]["data"]["result"]), (&json!("request.completed"), &result));
    assert_eq!((&json[2]["specversion"], &json[2]["data"]["result"]), (&json!("1.0"), &result));
    assert_eq!((&json[3]["status"], &json[3]["output"]), (&json!("succeeded"), &result));
    assert_eq!((&json[4]["status"], &json[4]["output"]), (&json!("COMPLETED"), &result));
    assert_eq!((&json[5]["status"], &json[5]["payload"]), (&json!("OK"), &result));
    assert_eq!(event.header("content-type"), "application/cloudevents+json");
    for webhook in [cortex, standard, replicate, runpod, fal] {
        assert_eq!(webhook.header("content-type"), "application/json");
    }
    for webhook in &webhooks {
        assert!(webhook.headers.get("webhook-format").is_none() && webhook.headers.contains_key("webhook-signature"));
        // Without an Ed25519 key, nobody could verify the headers of fal.
        assert!(webhook.headers.get("x-fal-webhook-signature").is_none());
    }
}

/// As the page on webhooks of fal says.
pub fn the_signature_of_fal_is_verified() {
    let pair = Secret::generate_ed25519();
    let public = pair.public_key().expect("a key pair").to_string();
    let public = STANDARD.decode(&public["whpk_".len()..]).expect("base64");
    let public = Dalek::from_bytes(public[..].try_into().expect("32 bytes")).expect("a public key");
    let webhooks = delivered(&[Secret::generate(), pair]);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let header = |name: &str| webhooks[5].header(&format!("x-fal-webhook-{name}")).to_owned();
    let digest = hex(&Sha256::digest(&webhooks[5].body));
    let text = [header("request-id"), header("user-id"), header("timestamp"), digest].join("\n");
    let signature = header("signature");
    let bytes: Vec<u8> =
        (0..64).map(|at| u8::from_str_radix(&signature[2 * at..2 * at + 2], 16).expect("hex")).collect();
    let signature = Signature::from_slice(&bytes).expect("a signature");
    public.verify_strict(text.as_bytes(), &signature).expect("a signature that fal's way of verifying accepts");
    public.verify_strict(format!("{text}0").as_bytes(), &signature).expect_err("a changed text");
    assert_eq!(header("request-id"), "fal");
    assert!(webhooks[1].headers.get("x-fal-webhook-signature").is_none());
}

pub fn packages_of_the_services_read_their_forms(folder: &Path) {
    let secret = Secret::generate();
    let webhooks = delivered(std::slice::from_ref(&secret));
    let as_json = |webhook: &Received| {
        let pairs = webhook.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap_or_default()));
        let headers: std::collections::BTreeMap<_, _> = pairs.collect();
        json!({"headers": headers, "body": String::from_utf8_lossy(&webhook.body)})
    };
    let input = json!({"secret": secret.reveal(), "replicate": as_json(&webhooks[3]), "event": as_json(&webhooks[2])});
    let output = python::run(folder, include_str!("formats.py"), &input.to_string());
    assert_eq!(output.trim(), "read: a prediction, and an event of the type postback.request.completed");
}
