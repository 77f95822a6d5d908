//! Tests of a workload server on storage that is full, failing, locked, read-only, damaged or deleted.
//!
//! The server keeps every request that it accepted, and refuses requests that it cannot keep. When the storage works
//! again, the server accepts requests again without a restart.
//!
//! The test program mounts disks in its own mount namespace. So the mounts end with the program, however it ends.

mod corrupt;
mod devices;
mod mounts;
mod server;

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::Trial;
use postback_tests::need::{self, Need, trial};

/// This variable is set inside the mount namespace of this program.
const INSIDE: &str = "FAULTS_HAVE_MOUNTS";

fn main() -> ExitCode {
    let arguments = need::arguments();
    if std::env::var_os(INSIDE).is_none()
        && let Some(mut again) = in_namespace()
    {
        let error = again.arg(std::env::current_exe().expect("this program")).args(std::env::args_os().skip(1)).exec();
        eprintln!("cannot start this program again in a mount namespace: {error}");
        return ExitCode::FAILURE;
    }
    let mut trials = Vec::new();
    let mut add = |name: &str, needs: Vec<Need>, test: fn()| trials.push(needing(name, needs, test));
    let (cc, mount) = (|| vec![need::program("cc")], || vec![mounts()]);
    add("submissions_are_refused_while_syncs_fail", cc(), devices::submissions_are_refused_while_syncs_fail);
    add("submissions_are_refused_while_writes_fail", cc(), devices::submissions_are_refused_while_writes_fail);
    add(
        "submissions_are_refused_while_the_device_is_read_only",
        cc(),
        devices::submissions_are_refused_while_the_device_is_read_only,
    );
    add("an_outcome_waits_for_a_failing_device", cc(), devices::an_outcome_waits_for_a_failing_device);
    add("a_stop_on_a_failing_device_ends", cc(), devices::a_stop_on_a_failing_device_ends_and_loses_nothing);
    add("readyz_reports_a_device_that_hangs", cc(), devices::readyz_reports_a_device_that_hangs);
    add("part_of_a_disk_is_reserved_for_outcomes", mount(), mounts::part_of_a_disk_is_reserved_for_outcomes);
    add(
        "submissions_are_refused_while_the_disk_is_full",
        mount(),
        mounts::submissions_are_refused_while_the_disk_is_full,
    );
    add("a_read_only_disk_is_an_error_at_the_start", mount(), mounts::a_read_only_disk_is_an_error_at_the_start);
    add(
        "a_lock_of_another_process_makes_the_server_wait",
        vec![],
        devices::a_lock_of_another_process_makes_the_server_wait,
    );
    add(
        "an_overwritten_header_is_an_error_at_the_start",
        vec![],
        corrupt::an_overwritten_header_is_an_error_at_the_start,
    );
    add("overwritten_pages_are_errors", vec![], corrupt::overwritten_pages_are_errors);
    add("a_deleted_file_makes_the_server_refuse", vec![], corrupt::a_deleted_file_makes_the_server_refuse);
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn needing(name: &str, needs: Vec<Need>, test: fn()) -> Trial {
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

/// A command that runs the program given to it in a new mount namespace, as root or as a mapped root user. `None` if
/// this machine does not allow it.
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
