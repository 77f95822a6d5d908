//! Runs Python programs, with packages that are installed into the target folder.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder with these packages installed, below the folder `target`. Installs them if necessary. `Err` names what is
/// missing.
pub fn packages(target: &str, packages: &[&str]) -> Result<PathBuf, String> {
    let target = Path::new(target);
    let folder = target.join(format!("python-{}", packages.join("-").replace("==", "-")));
    if folder.exists() {
        return Ok(folder);
    }
    let new = tempfile::tempdir_in(target).map_err(|error| error.to_string())?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "2", "--target"]);
    let pip = pip.arg(new.path()).args(packages).stdin(Stdio::null()).output();
    let output = pip.map_err(|error| format!("the program python3 ({error})"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = said.lines().last().unwrap_or_default();
        return Err(format!("the Python packages {}, which pip did not install ({last})", packages.join(" and ")));
    }
    // The rename makes the folder appear complete or not at all. If another process was faster, its folder is used.
    let _ = std::fs::rename(new.path(), &folder);
    if folder.exists() { Ok(folder) } else { Err(format!("the folder {}", folder.display())) }
}

/// Runs a script with this standard input. Returns what it prints.
pub fn run(packages: &Path, script: &str, input: &str) -> String {
    let mut command = Command::new("python3");
    command.args(["-c", script]).env("PYTHONPATH", packages).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = command.spawn().expect("python3");
    python.stdin.take().expect("piped").write_all(input.as_bytes()).expect("a reader");
    let output = python.wait_with_output().expect("the end of python3");
    assert!(output.status.success(), "python3 ended with {}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}
