//! Tests who may use a place, and who may delete there.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::results::{Options, Place};

fn results(place: Place, store: Option<&str>) -> Results {
    let options = Options { place: Some(place), max_inline: 10, max_size: 1_000, server_url: None };
    let results = Results::of(&options, Duration::from_secs(1)).unwrap();
    results.owner.set(Owner { store: store.map(Box::from) }).unwrap();
    results
}

/// A folder that the settings name.
fn chosen(folder: &Path) -> Place {
    Place::folder(folder).unwrap()
}

fn beside(folder: &Path) -> Place {
    chosen(folder).beside_store()
}

fn mark(folder: &Path) -> String {
    std::fs::read_to_string(folder.join(NAME)).unwrap()
}

async fn is_of_another(results: &Results) -> bool {
    matches!(results.take_place().await, Err(MarkError::OfAnother { .. }))
}

#[tokio::test]
async fn the_next_database_takes_the_folder_unless_somebody_has_chosen_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert!(results(beside(folder), Some("a")).take_place().await.unwrap());
    assert_eq!(mark(folder), "a");
    assert!(results(beside(folder), Some("b")).take_place().await.unwrap());
    assert_eq!(mark(folder), "b");
    // The store `b` was moved to another database, and its settings name the folder.
    assert!(results(chosen(folder), Some("b")).take_place().await.unwrap());
    assert_eq!(mark(folder), "b chosen");
    assert!(is_of_another(&results(beside(folder), Some("c"))).await);
    assert!(is_of_another(&results(chosen(folder), Some("c"))).await);
    assert!(results(chosen(folder), Some("b")).take_place().await.unwrap());
}

#[tokio::test]
async fn the_mark_is_read_again_before_a_sweep() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let results = results(chosen(folder), Some("a"));
    assert!(results.take_place().await.unwrap() && results.may_sweep().await.unwrap());
    std::fs::write(folder.join(NAME), "b chosen").unwrap();
    assert!(results.take_place().await.unwrap(), "the place was taken before");
    assert!(matches!(results.may_sweep().await, Err(MarkError::OfAnother { .. })));
}

#[tokio::test]
async fn a_store_in_memory_deletes_nothing_where_others_may_come() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let in_memory = results(chosen(folder), None);
    assert!(in_memory.take_place().await.unwrap());
    assert!(results(chosen(folder), Some("a")).take_place().await.unwrap());
    assert!(!in_memory.may_sweep().await.unwrap());
    assert!(is_of_another(&results(chosen(folder), None)).await);
}
