//! Deletes the files of uploads that a killed process has left in the folder of results.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::claim_of_name;
use postback_wire::time::Timestamp;

/// How long nothing was written to a file that is nobody's. An upload into a folder writes without a pause.
const AGE: Duration = Duration::from_hours(6);

/// Deletes the old files of uploads, and returns their number. Files whose names are not those of an upload stay. This
/// blocks.
pub(super) fn delete(folder: &Path, now: Timestamp) -> std::io::Result<u64> {
    let mut deleted = 0;
    for entry in folder.read_dir()? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(is_upload) {
            continue;
        }
        // Another node may have deleted the file meanwhile.
        let Ok(about) = entry.metadata() else { continue };
        let is_old = about.modified().is_ok_and(|written| is_old(written, now));
        if about.is_file() && is_old && std::fs::remove_file(entry.path()).is_ok() {
            deleted += 1;
        }
    }
    Ok(deleted)
}

/// Whether the name is that of a result, with the number that the file has until the upload ends.
fn is_upload(name: &str) -> bool {
    let Some((result, number)) = name.rsplit_once('#') else { return false };
    number.parse::<u64>().is_ok() && claim_of_name(result).is_some()
}

fn is_old(written: SystemTime, now: Timestamp) -> bool {
    now.system_time().duration_since(written).is_ok_and(|age| age >= AGE)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use postback_wire::time::Clock;

    use super::*;

    #[test]
    fn only_old_files_of_uploads_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let now = Clock::system().now();
        let old = now.system_time() - AGE;
        let made = |name: &str, written: SystemTime| {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(written).unwrap();
        };
        for name in ["a.e7-B.e1#1", "b.e2#12", "c.e1", "c#1", "d.e1#", "d.ex#1", "notes.txt"] {
            made(name, old);
        }
        made("runs.e1#1", old + Duration::from_mins(1));
        std::fs::create_dir(folder.path().join("f.e1#1")).unwrap();
        assert_eq!(delete(folder.path(), now).unwrap(), 2);
        let mut left: Vec<_> =
            folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        left.sort_unstable();
        assert_eq!(left, ["c#1", "c.e1", "d.e1#", "d.ex#1", "f.e1#1", "notes.txt", "runs.e1#1"]);
    }
}
