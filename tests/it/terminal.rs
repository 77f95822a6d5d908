//! A pseudo-terminal on which a program runs, and what a person would see on it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};

use postback_tests::eventually;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// A program on a terminal of its own.
pub struct Terminal {
    child: Child,
    /// The end that a person sits at.
    master: File,
    /// The program's end, kept open so that the modes of the terminal can be read after the program has ended.
    program_end: File,
    shown: Arc<Mutex<Shown>>,
}

struct Shown {
    parser: vt100::Parser,
    raw: Vec<u8>,
}

fn size(rows: u16, columns: u16) -> Winsize {
    Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn open(rows: u16, columns: u16) -> (OwnedFd, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let terminal = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    tcsetwinsize(&terminal, size(rows, columns)).unwrap();
    (master, terminal)
}

fn workload(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_workload"));
    command.args(arguments).current_dir(folder).env_remove("NO_COLOR").env("TERM", "xterm-256color");
    command
}

impl Terminal {
    /// Starts the program on a terminal of this size.
    pub fn start(folder: &Path, arguments: &[&str], (rows, columns): (u16, u16), env: &[(&str, &str)]) -> Self {
        let (master, program_end) = open(rows, columns);
        let mut command = workload(folder, arguments);
        command.envs(env.iter().copied());
        let end = || Stdio::from(program_end.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().unwrap();
        let shown = Shown { parser: vt100::Parser::new(rows, columns, 0), raw: Vec::new() };
        let (shown, master) = (Arc::new(Mutex::new(shown)), File::from(master));
        let (mut read_from, shows) = (master.try_clone().unwrap(), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = read_from.read(&mut buffer) {
                let mut shown = shows.lock().unwrap();
                shown.parser.process(&buffer[..read]);
                shown.raw.extend_from_slice(&buffer[..read]);
            }
        });
        Self { child, master, program_end, shown }
    }

    /// What stands on the terminal.
    pub fn text(&self) -> String {
        self.shown.lock().unwrap().parser.screen().contents()
    }

    /// All bytes that the program has written.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.shown.lock().unwrap().raw).into_owned()
    }

    /// Waits until the terminal shows what `look` wants.
    pub fn wait(&self, what: &str, look: impl Fn(&str) -> bool) -> String {
        eventually(what, || {
            let text = self.text();
            if look(&text) { Ok(text) } else { Err(text) }
        })
    }

    /// Waits until the terminal shows this text.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait(text, |shown| shown.contains(text))
    }

    /// Types.
    pub fn send(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    pub fn resize(&self, rows: u16, columns: u16) {
        self.shown.lock().unwrap().parser.screen_mut().set_size(rows, columns);
        tcsetwinsize(&self.program_end, size(rows, columns)).unwrap();
        // The terminal is not that of a session, so the kernel tells nobody.
        self.signal(Signal::WINCH);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the program has ended.
    pub fn ended(&mut self) -> ExitStatus {
        eventually("the end of the program", || self.child.try_wait().unwrap().ok_or_else(|| self.text()))
    }

    /// Whether the terminal shows its usual page, and echoes what is typed.
    pub fn is_set_back(&self) -> bool {
        let modes = tcgetattr(&self.program_end).unwrap().local_modes;
        let is_usual = || !self.shown.lock().unwrap().parser.screen().alternate_screen();
        modes.contains(LocalModes::ICANON | LocalModes::ECHO) && eventually_true(is_usual)
    }
}

fn eventually_true(is: impl Fn() -> bool) -> bool {
    eventually("the usual page", || if is() { Ok(true) } else { Err(()) })
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the program on a pseudo-terminal of this width. Returns what it prints.
pub fn on_a_terminal(folder: &Path, arguments: &[&str], columns: u16) -> String {
    let (master, terminal) = open(24, columns);
    let mut command = workload(folder, arguments);
    command.stdin(Stdio::null()).stdout(terminal).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    // The program has the only other end now, so that reading ends with the program.
    drop(command);
    let (mut printed, mut buffer, mut master) = (Vec::new(), [0; 4096], File::from(master));
    while let Ok(read @ 1..) = master.read(&mut buffer) {
        printed.extend_from_slice(&buffer[..read]);
    }
    assert_eq!(child.wait().unwrap().code(), Some(0), "{arguments:?}");
    String::from_utf8(printed).unwrap()
}

/// Removes the colours from a text.
pub fn plain(mut text: String) -> String {
    while let Some(at) = text.find('\u{1b}') {
        let end = text[at..].find('m').unwrap();
        text.replace_range(at..=at + end, "");
    }
    text
}
