//! A small file beside the database records which runs have begun: it has one mark for each run. When a process dies,
//! the crash counts only against the requests that were running, and not against claimed requests that still waited for
//! a thread.
//!
//! The server makes a mark by one write into the system's page cache, without a sync. A mark outlives the process. It
//! need not outlive the machine, because no request causes a power cut.

mod rows;

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

pub(crate) use self::rows::{BegunRows, Record};
use crate::record::RequestClaim;

/// The first bytes of a valid file. If a file begins with other bytes, the runs that had begun are unknown.
const HEAD: [u8; 8] = *b"begun v1";
const MARK: usize = 16;
/// The largest number of marks in the file. One node never runs more requests at the same time.
const MOST: u64 = 1 << 20;

type Mark = [u8; MARK];

/// The marks that an earlier process left in the file. The file has one mark for each run that had begun and had not
/// ended.
#[derive(Debug)]
pub(crate) struct Left(HashSet<Mark>);

impl Left {
    /// Returns whether the run under this claim had begun when the earlier process ended.
    pub(crate) fn has(&self, claim: &RequestClaim) -> bool {
        self.0.contains(&mark(claim))
    }
}

/// The file of marks, which is open for writing. The file has one mark for each run that has begun and has not ended.
#[derive(Debug)]
pub(crate) struct Begun(Mutex<Marks>);

#[derive(Debug)]
struct Marks {
    file: File,
    /// The positions in the file that a new mark can use again, because the run that used the position has ended.
    free: Vec<u64>,
    /// The number of positions in the file that were ever used, including the positions that are free again.
    used: u64,
    /// Whether the marks of an earlier process were read and then removed from the file.
    restarted: bool,
    /// If true, no more marks are written, because a write failed or because the operator ended the process.
    broken: bool,
}

impl Begun {
    /// Reads the marks of an earlier process, and leaves the marks in the file. The second value is `None` if the file
    /// is not valid: then the runs that had begun are unknown.
    pub(crate) fn open(mut file: File) -> std::io::Result<(Self, Option<Left>)> {
        let mut text = Vec::new();
        (&mut file).take(HEAD.len() as u64 + MOST * MARK as u64).read_to_end(&mut text)?;
        let left = text.strip_prefix(&HEAD).map(|marks| Left(marks.as_chunks().0.iter().copied().collect()));
        if left.is_none() {
            file.set_len(0)?;
        }
        Ok((Self(Mutex::new(Marks { file, free: Vec::new(), used: 0, restarted: false, broken: false })), left))
    }

    /// Removes the marks of the earlier process from the file. After this call, new marks can be written.
    pub(crate) fn restart(&self) {
        let mut marks = self.lock();
        marks.restarted = true;
        let begun = marks.file.set_len(0).and_then(|()| marks.write(0, &HEAD));
        marks.checked(begun);
    }

    /// Records in the file that the run under this claim has begun. Keep the returned value until the run has ended.
    fn begin(self: &Arc<Self>, claim: &RequestClaim) -> Place {
        let mut marks = self.lock();
        let place = marks.free.pop().unwrap_or_else(|| {
            marks.used += 1;
            marks.used - 1
        });
        marks.mark(place, &mark(claim));
        Place { place, of: self.clone() }
    }

    /// Removes all marks, and writes no more marks. The server calls `forget` when the operator ends the process, so
    /// that the interrupted runs do not count as crashes.
    pub(crate) fn forget(&self) {
        let mut marks = self.lock();
        let emptied = marks.file.set_len(HEAD.len() as u64);
        marks.checked(emptied);
        marks.broken = true;
    }

    /// Returns whether the file can be deleted: the marks of the earlier process were removed from it, and no run of
    /// this process is under way.
    pub(crate) fn is_over(&self) -> bool {
        let marks = self.lock();
        marks.restarted && marks.free.len() as u64 == marks.used
    }

    fn lock(&self) -> MutexGuard<'_, Marks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Marks {
    fn mark(&mut self, place: u64, mark: &Mark) {
        if !self.broken && place < MOST {
            let written = self.write(HEAD.len() as u64 + place * MARK as u64, mark);
            self.checked(written);
        }
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.file.seek(SeekFrom::Start(at))?;
        self.file.write_all(bytes)
    }

    /// If a write failed, empties the file. A file without the mark of a begun run would be wrong. An empty file is not
    /// wrong: it means that the runs that had begun are unknown.
    fn checked(&mut self, result: std::io::Result<()>) {
        if let Err(error) = result
            && !std::mem::replace(&mut self.broken, true)
        {
            let emptied = self.file.set_len(0);
            tracing::warn!(
                %error, ?emptied,
                "cannot record which runs have begun; if the process dies now, the crash counts against each claimed \
                 request"
            );
        }
    }
}

/// A run that is recorded as begun, and that has not ended. When this value is dropped, the run has ended.
#[derive(Debug)]
#[expect(dead_code, reason = "the value is only kept and dropped")]
pub struct Running(Of);

#[derive(Debug)]
enum Of {
    #[expect(dead_code, reason = "the value is only kept and dropped")]
    File(Place),
    Rows(Arc<BegunRows>, RequestClaim),
}

/// The place of a mark in the file. When this value is dropped, the mark is removed from the file.
#[derive(Debug)]
struct Place {
    place: u64,
    of: Arc<Begun>,
}

impl Drop for Of {
    fn drop(&mut self) {
        if let Self::Rows(rows, claim) = self {
            rows.end(claim);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut marks = self.of.lock();
        // The mark is removed although the outcome of the run may not be committed yet: the run has ended, so it cannot
        // be the cause of a later crash of the process.
        marks.mark(self.place, &[0; MARK]);
        marks.free.push(self.place);
    }
}

fn mark(claim: &RequestClaim) -> Mark {
    let mut hasher = Sha256::new();
    hasher.update(claim.epoch.to_le_bytes());
    hasher.update(claim.id.as_str());
    let digest: [u8; 32] = hasher.finalize().into();
    let mut mark = [0; MARK];
    mark.copy_from_slice(digest.split_at(MARK).0);
    mark
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Claim;
    use postback_wire::id::RequestId;

    fn claim(id: &str, epoch: u32) -> RequestClaim {
        Claim { id: RequestId::stored(id), epoch }
    }

    fn open(path: &std::path::Path) -> (Arc<Begun>, Option<Left>) {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        let (begun, left) = Begun::open(file).unwrap();
        (Arc::new(begun), left)
    }

    #[test]
    fn what_had_begun_is_known_until_it_is_no_longer_needed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("begun");
        let (begun, left) = open(&path);
        assert!(left.is_none() && !begun.is_over(), "nothing was taken over yet");
        begun.restart();
        assert!(begun.is_over());
        let first = begun.begin(&claim("a", 1));
        let _second = begun.begin(&claim("b", 1));
        drop(first);
        assert!(!begun.is_over());
        assert!(!open(&path).1.unwrap().has(&claim("a", 1)));
        let _third = begun.begin(&claim("c", 7));
        for _ in 0..2 {
            let (_, left) = open(&path);
            let left = left.unwrap();
            let known = [("a", 1), ("b", 1), ("c", 7), ("c", 8)].map(|(id, epoch)| left.has(&claim(id, epoch)));
            assert_eq!(known, [false, true, true, false]);
        }
        begun.forget();
        let _fourth = begun.begin(&claim("d", 1));
        let left = open(&path).1.unwrap();
        assert!(!left.has(&claim("b", 1)) && !left.has(&claim("d", 1)), "known to have begun: none");
        let (begun, _) = open(&path);
        begun.restart();
        assert!(!open(&path).1.unwrap().has(&claim("b", 1)));
    }

    #[test]
    fn a_file_that_cannot_be_read_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("begun");
        std::fs::write(&path, "something else").unwrap();
        assert!(open(&path).1.is_none());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }

    #[test]
    fn where_a_mark_cannot_be_made_nothing_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("begun");
        open(&path).0.restart();
        // The file is open for reading only, so that every write to the file fails.
        let (begun, _) = Begun::open(File::open(&path).unwrap()).unwrap();
        let begun = Arc::new(begun);
        let _running = begun.begin(&claim("a", 1));
        assert!(begun.lock().broken);
    }
}
