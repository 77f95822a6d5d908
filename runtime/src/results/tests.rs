//! Tests what is kept, in a folder and in memory, and what is deleted.

use super::*;
use postback_store::{self as store, Location, NewRequest, Store};
use postback_wire::id::{NodeId, RequestId};
use postback_wire::report::{Outcome, Reason};
use postback_wire::time::Clock;

const WEEK: Duration = Duration::from_hours(7 * 24);

fn results(place: Place) -> Results {
    let options = Options { place: Some(place), max_inline: 10, max_size: 5_000_000, server_url: None };
    Results::of(&options, WEEK).unwrap()
}

fn claim(id: &str, epoch: u32) -> RequestClaim {
    RequestClaim { id: id.parse().unwrap(), epoch }
}

async fn kept(results: &Results, claim: &RequestClaim, content: &Content) -> Result<StoredResult, KeepError> {
    let content = &Arc::new(match content {
        Content::Bytes(bytes) => Content::Bytes(bytes.clone()),
        Content::File(path) => Content::File(path.clone()),
        Content::Spooled(file) => Content::Spooled(file.try_clone().unwrap()),
    });
    let keep = Keep { route: "/draw", claim, content_type: "image/png", content, retention: None };
    let json = results.keep(&keep, Timestamp::default()).await?;
    Ok(serde_json::from_slice(json.bytes()).unwrap())
}

#[tokio::test]
async fn a_result_is_described_and_read_in_pieces() {
    let folder = tempfile::tempdir().unwrap();
    for place in [Place::memory(), Place::folder(&folder.path().join("results")).unwrap()] {
        let results = results(place);
        let claim = claim("a.e7-B", 3);
        let stored = kept(&results, &claim, &Content::Bytes(Bytes::from("hello"))).await.unwrap();
        // The digest of `hello`, as `openssl dgst -sha256 -binary | base64` prints it.
        assert_eq!(stored.digest, "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:");
        assert_eq!((&*stored.result_url, stored.size, stored.version), ("/draw/a.e7-B/result", 5, 3));
        assert_eq!((&*stored.content_type, stored.expires), ("image/png", None));
        assert_eq!(results.read(&claim, 1..4).await.unwrap().unwrap(), "ell");
        assert_eq!(results.read(&self::claim("a.e7-B", 4), 0..1).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_file_is_copied_in_parts_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x");
    std::fs::write(&file, vec![7; 3 * CHUNK + 1]).unwrap();
    let results = results(Place::folder(&folder.path().join("results")).unwrap());
    let stored = kept(&results, &claim("1", 1), &Content::File(file.clone())).await.unwrap();
    assert_eq!(stored.size, 3 * CHUNK as u64 + 1);
    assert!(file.exists());
    std::fs::write(&file, vec![7; 5_000_001]).unwrap();
    let error = kept(&results, &claim("2", 1), &Content::File(file)).await.unwrap_err();
    assert!(!error.may_pass() && error.to_string().contains("more than 5000000 bytes (results.max_size)"), "{error}");
    assert_eq!(results.read(&claim("2", 1), 0..1).await.unwrap(), None);
    let error = kept(&results, &claim("3", 1), &Content::File("/no/such/file".into())).await.unwrap_err();
    assert!(!error.may_pass() && error.to_string().contains("/no/such/file cannot be read"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_folder_is_its_owners_and_one_that_takes_nothing_may_take_it_later() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = tempfile::tempdir().unwrap();
    let of_results = folder.path().join("results");
    let results = results(Place::folder(&of_results).unwrap());
    std::fs::write(&of_results, "a file").unwrap();
    let error = kept(&results, &claim("1", 1), &Content::Bytes(Bytes::from("x"))).await.unwrap_err();
    assert!(error.may_pass(), "{error}");
    std::fs::remove_file(&of_results).unwrap();
    kept(&results, &claim("1", 1), &Content::Bytes(Bytes::from("x"))).await.unwrap();
    assert_eq!(std::fs::metadata(&of_results).unwrap().permissions().mode() & 0o777, 0o700);
}

#[tokio::test]
async fn a_place_is_tried_out_and_a_stream_leaves_no_file_with_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let results = results(Place::folder(folder.path()).unwrap());
    results.try_out().await;
    let mut spooled = results.spool().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    std::io::Write::write_all(&mut spooled, b"of a stream").unwrap();
    let content = Content::Spooled(spooled);
    for run in 1..3 {
        // A second try reads it from its beginning.
        assert_eq!(kept(&results, &claim("1", run), &content).await.unwrap().size, 11);
    }
}

#[tokio::test]
async fn what_is_no_file_is_not_opened() {
    let error = kept(&results(Place::memory()), &claim("1", 1), &Content::File("/dev/zero".into())).await.unwrap_err();
    assert!(!error.may_pass(), "{error}");
}

#[tokio::test]
async fn the_memory_for_results_is_bounded_and_becomes_free_with_them() {
    let results = Results { max_size: 1 << 30, ..results(Place::memory()) };
    let large = Content::Bytes(Bytes::from(vec![0; 200 << 20]));
    kept(&results, &claim("1", 1), &large).await.unwrap();
    let error = kept(&results, &claim("2", 1), &large).await.unwrap_err();
    assert!(error.may_pass() && Causes(&error).to_string().contains("it has 256 MiB"), "{}", Causes(&error));
    let location = Location::Memory { reports: 10, bytes: 1 << 20, kept: 10 };
    let store = Store::open(store::Options::at(location), NodeId::generate(), Clock::system()).await.unwrap();
    assert_eq!(sweep::once(&results, &store).await.unwrap(), 1);
    kept(&results, &claim("2", 1), &large).await.unwrap();
}

#[tokio::test]
async fn results_are_deleted_with_their_requests_and_those_of_stale_runs_too() {
    let folder = tempfile::tempdir().unwrap();
    let results = results(Place::folder(&folder.path().join("results")).unwrap());
    let location = Location::Memory { reports: 10, bytes: 1 << 20, kept: 10 };
    let store = Store::open(store::Options::at(location), NodeId::generate(), Clock::system()).await.unwrap();
    drop(store.attach_requests(vec!["/draw".to_owned()], Arc::new(tokio::sync::Semaphore::new(0))));
    let now = Clock::system().now();
    for id in ["done", "waits"] {
        let id: RequestId = id.parse().unwrap();
        store.submit(NewRequest::new(id, "/draw", Bytes::new(), now)).await.unwrap();
    }
    let rows = store.claim_requests(1).await.unwrap().rows;
    let done = rows[0].claim.clone();
    let waits = if done.id.as_str() == "done" { "waits" } else { "done" };
    let (stale, gone) = (RequestClaim { epoch: 99, ..done.clone() }, claim("gone", 1));
    let content = Content::Bytes(Bytes::from("x"));
    let described = kept(&results, &done, &content).await.unwrap();
    for other in [&stale, &gone, &claim(waits, 1)] {
        kept(&results, other, &content).await.unwrap();
    }
    std::fs::write(folder.path().join("results/of-others.txt"), "x").unwrap();
    let outcome = Outcome { reason: Reason::Elsewhere, ..Outcome::completed(Json::of(&described).unwrap(), now) };
    let settled = store.settle_request(done.clone(), outcome, Vec::new()).await.unwrap();
    assert_eq!(settled, store::Settled::Current);

    assert_eq!(sweep::once(&results, &store).await.unwrap(), 2);
    for (claim, is_there) in [(&done, true), (&claim(waits, 1), true), (&stale, false), (&gone, false)] {
        assert_eq!(results.read(claim, 0..1).await.unwrap().is_some(), is_there, "{claim:?}");
    }
    assert!(folder.path().join("results/of-others.txt").exists());
}

#[test]
fn a_place_that_is_none_says_what_is_wanted() {
    let refused = |text: &str| Place::parse(text).unwrap_err();
    for text in ["", "results", "ftp://x/y", "http://x/y"] {
        assert!(refused(text).contains("file:///FOLDER"), "{text}: {}", refused(text));
    }
    assert_eq!(Place::parse("file:///var/lib/results").unwrap().shown(), "/var/lib/results");
    let s3 = Place::parse("s3://bucket/pre/fix").map(|place| place.shown().to_owned());
    if cfg!(feature = "s3") {
        assert_eq!(s3.unwrap(), "s3://bucket/pre/fix");
    } else {
        assert!(s3.unwrap_err().contains("needs the feature `s3`"));
    }
}
