//! Child processes for tests: started in their own folder, watched, stopped and killed.

use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};

use crate::eventually;

/// The path of an example's binary. `cargo test --workspace` builds the examples before it runs tests.
pub fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("this program");
    let target = tests.ancestors().nth(2).expect("…/target/PROFILE/deps");
    let path = target.join("examples").join(name);
    assert!(path.exists(), "{} is not built; run the tests with `cargo test --workspace`", path.display());
    path
}

/// A server prints this text and then its URL when it is ready.
const READY: &str = "postback ready on ";

/// A running program. Killed when dropped.
pub struct Process {
    child: Child,
    output: Arc<Mutex<String>>,
    readers: Vec<std::thread::JoinHandle<()>>,
}

impl Process {
    /// Starts a program in this folder, without the `POSTBACK_` variables and `RUST_LOG` of the test process.
    pub fn start(program: impl AsRef<Path>, folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program.as_ref());
        command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in std::env::vars() {
            if name.starts_with("POSTBACK_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        command.env("NO_COLOR", "1").envs(variables.iter().copied());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", program.as_ref().display()));
        let output = Arc::new(Mutex::new(String::new()));
        let readers = vec![
            collect(child.stdout.take().expect("piped"), &output),
            collect(child.stderr.take().expect("piped"), &output),
        ];
        Self { child, output, readers }
    }

    /// All text that the program has printed so far.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// A function that returns all text printed so far. It can be used while the process is borrowed.
    pub fn watch(&self) -> impl Fn() -> String + Send + Sync + use<> {
        let output = Arc::clone(&self.output);
        move || output.lock().unwrap().clone()
    }

    /// Waits until the program has printed this text. Returns all text printed so far.
    pub fn wait_for(&mut self, text: &str) -> String {
        let (child, output, readers) = (&mut self.child, &self.output, &mut self.readers);
        eventually(&format!("the output {text:?}"), || {
            let printed = output.lock().unwrap().clone();
            if printed.contains(text) {
                return Ok(printed);
            }
            if let Some(status) = child.try_wait().unwrap() {
                // The last lines may not have been read yet.
                read_to_the_end(readers);
                let printed = output.lock().unwrap().clone();
                if printed.contains(text) {
                    return Ok(printed);
                }
                panic!("the program ended with {status} before it printed {text:?}:\n{printed}");
            }
            Err(printed)
        })
    }

    /// Waits until the program has ended with success. Returns all that it has printed.
    pub fn text(&mut self) -> String {
        let status = self.ended();
        assert!(status.success(), "{status}: {}", self.output());
        self.output()
    }

    /// Waits until the server is ready, and returns the URL that it printed.
    pub fn ready(&mut self) -> String {
        self.wait_for(READY);
        // The rest of the line may come a moment later.
        self.wait_for("  try ");
        self.url().expect("a URL")
    }

    /// The URL that the server has printed; `None` while it is not ready.
    pub fn url(&self) -> Option<String> {
        let output = self.output();
        let line = output.lines().find(|line| line.contains(READY))?;
        Some(line.split(READY).nth(1)?.trim().to_owned())
    }

    /// Whether the process has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The resident memory of the process now, in MiB.
    pub fn resident_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("a process on Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1_024
    }

    /// The number of files that the process has open now.
    pub fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.id())).expect("a process on Linux").count()
    }

    /// The number of sockets that the process has open now.
    pub fn open_sockets(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.id())).expect("a process on Linux");
        let links = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGINT.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Sends SIGHUP, which tells a server to read its settings again.
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Sends SIGKILL, and waits until the process has ended.
    pub fn kill(&mut self) {
        self.kill_and_collect();
    }

    /// Sends SIGKILL, and waits until the process has ended and all its output is read. Returns the exit status if the
    /// process had already ended by itself.
    pub fn kill_and_collect(&mut self) -> Option<ExitStatus> {
        self.child.kill().expect("a child");
        let status = self.child.wait().expect("a child");
        read_to_the_end(&mut self.readers);
        (status.signal() != Some(Signal::KILL.as_raw())).then_some(status)
    }

    /// Sends SIGSTOP: the process does nothing until [`go_on`](Self::go_on).
    pub fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Sends SIGCONT.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, signal).expect("a process of ours");
    }

    /// Waits until the process has ended and all its output is read.
    pub fn ended(&mut self) -> ExitStatus {
        let (child, output) = (&mut self.child, &self.output);
        let status = eventually("the end of the process", || {
            child.try_wait().unwrap().ok_or_else(|| output.lock().unwrap().clone())
        });
        read_to_the_end(&mut self.readers);
        status
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- what the program printed ---\n{}---", self.output());
        }
    }
}

fn read_to_the_end(readers: &mut Vec<std::thread::JoinHandle<()>>) {
    for reader in readers.drain(..) {
        reader.join().expect("a reader");
    }
}

fn collect(stream: impl Read + Send + 'static, output: &Arc<Mutex<String>>) -> std::thread::JoinHandle<()> {
    let output = Arc::clone(output);
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { return };
            let mut output = output.lock().unwrap();
            output.push_str(&String::from_utf8_lossy(&line));
            output.push('\n');
        }
    })
}
