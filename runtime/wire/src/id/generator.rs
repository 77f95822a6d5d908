//! Makes UUIDv7, as RFC 9562 defines them in section 5.7, with method 3 of section 6.2: after the milliseconds come 12
//! bits of the time within the millisecond, and then 62 random bits.
//!
//! - The ids of one process are in the order in which they were made. If the clock stands still or goes back, each id
//!   is one step after the one before.
//! - The random bits come from the operating system. They are fetched for many ids at once, because one fetch for each
//!   id would take longer than everything else. A forked process has a copy of the bytes that are left, so it throws
//!   them away.

use std::cell::RefCell;
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use rand::TryRng as _;
use rand::rngs::SysRng;
use uuid::{Builder, Uuid};

use crate::time::wall_clock_micros;

/// The number of random bytes of an id.
const PER_ID: usize = 8;
/// The number of ids for which random bytes are fetched at once.
const IDS: usize = 64;
/// The number of steps of the time in a millisecond, which 12 bits can count.
const STEPS: u64 = 1 << 12;

/// The time of the last id of this process, in steps since 1970.
static LAST: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static RANDOM: RefCell<Random> = const { RefCell::new(Random { bytes: [[0; PER_ID]; IDS], left: 0, process: 0 }) };
}

/// Random bytes that no id has used yet.
struct Random {
    bytes: [[u8; PER_ID]; IDS],
    /// The number of ids for which there are bytes.
    left: usize,
    /// The process that has fetched the bytes.
    process: u32,
}

impl Random {
    /// Returns the next random bytes. Returns `None` if the operating system has none.
    fn next(&mut self, process: u32) -> Option<[u8; PER_ID]> {
        if self.left == 0 || self.process != process {
            SysRng.try_fill_bytes(self.bytes.as_flattened_mut()).ok()?;
            (self.left, self.process) = (IDS, process);
        }
        self.left -= 1;
        self.bytes.get(self.left).copied()
    }
}

/// Makes a new id.
///
/// # Panics
///
/// Panics if the operating system returns no random bytes.
pub(super) fn uuid_v7() -> Uuid {
    let random = RANDOM.try_with(|random| random.try_borrow_mut().ok()?.next(process::id()));
    // Without random bytes, or at the end of the thread, the crate `uuid` decides what happens.
    let Some(random) = random.ok().flatten() else { return Uuid::now_v7() };
    with(step(&LAST, steps(wall_clock_micros())), random)
}

/// Returns a time of microseconds as a number of steps.
fn steps(micros: u64) -> u64 {
    (micros / 1_000).saturating_mul(STEPS) + micros % 1_000 * STEPS / 1_000
}

/// Returns the time of a new id, which is after the times of all ids before.
fn step(last: &AtomicU64, now: u64) -> u64 {
    let after = |last: u64| Some(now.max(last.saturating_add(1)));
    let before = last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after).unwrap_or_default();
    now.max(before.saturating_add(1))
}

fn with(steps: u64, random: [u8; PER_ID]) -> Uuid {
    let [.., high, low] = (steps % STEPS).to_be_bytes();
    let mut rest = [0; 2 + PER_ID];
    let (within, after) = rest.split_at_mut(2);
    within.copy_from_slice(&[high, low]);
    after.copy_from_slice(&random);
    Builder::from_unix_timestamp_millis(steps / STEPS, &rest).into_uuid()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_id_has_its_time_and_is_a_uuid_of_version_7() {
        // 1,500 µs are one millisecond and a half.
        let id = with(steps(1_795_420_800_123_500), [0xff; PER_ID]);
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(id.to_string(), "01a2076b-447b-7800-bfff-ffffffffffff");
        let before = wall_clock_micros() / 1_000;
        let made = u64::from_str_radix(&uuid_v7().simple().to_string()[..12], 16).unwrap();
        assert!((before..before + 60_000).contains(&made), "{made}");
    }

    #[test]
    fn ids_are_in_order_whatever_the_clock_does() {
        let last = AtomicU64::new(0);
        let times = [7_000, 7_000, 7_001, 3, 7_000, 9_000].map(|micros| step(&last, steps(micros)));
        assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
        assert_eq!(times[5], steps(9_000));
        let ids: Vec<_> = (0..3 * STEPS).map(|_| uuid_v7()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn the_ids_of_all_threads_differ_in_their_random_bits() {
        let of_thread = || (0..5 * IDS).map(|_| uuid_v7().as_u64_pair().1).collect::<Vec<_>>();
        let all: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(of_thread)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn a_forked_process_uses_no_bytes_of_its_parent() {
        let mut random = Random { bytes: [[7; PER_ID]; IDS], left: IDS, process: 1 };
        assert_eq!(random.next(1), Some([7; PER_ID]));
        assert_ne!(random.next(2), Some([7; PER_ID]));
        assert_eq!((random.left, random.process), (IDS - 1, 2));
    }
}
