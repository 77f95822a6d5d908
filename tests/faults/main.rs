//! Storage that fails under a real server: full, failing, locked, read-only, corrupt, gone.
//!
//! What was accepted is kept, or the caller is told no; when the cause goes, so does the trouble, without a restart.
//!
//! Mounts are made in a mount namespace of this program alone, so that nothing is left of them however it ends.

mod corrupt;
mod devices;
mod mounts;
mod server;

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::{Arguments, Trial};
use postback_tests::need::{self, Need, trial};

/// Set where mounts are this program's own.
const INSIDE: &str = "FAULTS_HAVE_MOUNTS";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    if std::env::var_os(INSIDE).is_none()
        && let Some(mut again) = in_namespace()
    {
        let error = again.arg(std::env::current_exe().expect("this program")).args(std::env::args_os().skip(1)).exec();
        eprintln!("cannot run itself again: {error}");
        return ExitCode::FAILURE;
    }
    let mut trials = Vec::new();
    let mut add = |name: &str, needs: Vec<Need>, test: fn()| trials.push(with(name, needs, test));
    let (cc, mount) = (|| vec![need::program("cc")], || vec![mounts()]);
    add("a_sync_that_fails_is_a_no_and_passes", cc(), devices::a_sync_that_fails_is_a_no_and_passes);
    add("a_write_that_fails_is_a_no_and_passes", cc(), devices::a_write_that_fails_is_a_no_and_passes);
    add("a_device_that_turns_read_only_is_a_no_and_passes", cc(), devices::a_device_that_turns_read_only_is_a_no);
    add("an_outcome_waits_for_a_failing_device", cc(), devices::an_outcome_waits_for_a_failing_device);
    add("a_stop_on_a_failing_device_ends", cc(), devices::a_stop_on_a_failing_device_ends_and_loses_nothing);
    add("a_device_that_hangs_is_told_by_readyz", cc(), devices::a_device_that_hangs_is_told_by_readyz);
    add("some_of_a_disk_is_kept_for_outcomes", mount(), mounts::some_of_a_disk_is_kept_for_outcomes);
    add("a_full_disk_is_a_no_and_passes", mount(), mounts::a_full_disk_is_a_no_and_passes);
    add("a_read_only_disk_is_told_at_the_start", mount(), mounts::a_read_only_disk_is_told_at_the_start);
    add("a_lock_of_another_process_passes", vec![], devices::a_lock_of_another_process_passes);
    add("a_header_that_is_overwritten_is_told", vec![], corrupt::a_header_that_is_overwritten_is_told);
    add("pages_that_are_overwritten_are_a_no", vec![], corrupt::pages_that_are_overwritten_are_a_no);
    add("a_file_that_is_deleted_is_a_no", vec![], corrupt::a_file_that_is_deleted_is_a_no);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn with(name: &str, needs: Vec<Need>, test: fn()) -> Trial {
    let missing: Vec<String> = needs.into_iter().filter_map(Result::err).collect();
    let need = if missing.is_empty() { Ok(()) } else { Err(missing.join(" and ")) };
    trial(name, [need], test)
}

fn mounts() -> Need {
    if std::env::var_os(INSIDE).is_some() {
        Ok(())
    } else {
        Err("the right to mount (`unshare --mount`, or with `--map-root-user`)".to_owned())
    }
}

/// A command that runs what follows with mounts of its own, as root or as if.
fn in_namespace() -> Option<Command> {
    [&["--mount"][..], &["--mount", "--map-root-user"]].into_iter().find_map(|flags| {
        let command = || {
            let mut command = Command::new("unshare");
            command.args(flags).env(INSIDE, "1");
            command
        };
        let works = "mount -t tmpfs none /mnt";
        let status = command().args(["sh", "-c", works]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success()).then(command)
    })
}
