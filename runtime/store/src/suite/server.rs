//! A PostgreSQL server for tests, in a temporary folder. It ends with this process, however this process ends: a shell
//! owns the server, and stops it when the pipe from this process is closed. (The tests of other packages use this file
//! too, so it uses nothing of this crate.)

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Starts the server, writes the name of its folder, and obeys commands. PostgreSQL refuses to run as root, so root runs
/// it as the user `postgres` or `nobody`.
const SCRIPT: &str = r#"
    set -eu
    bin=$(command -v initdb || ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -n 1)
    test -n "$bin" || { echo "none: neither PATH nor /usr/lib/postgresql has initdb"; exit 1; }
    bin=$(dirname "$(readlink -f "$bin")")
    dir=$(mktemp -d /tmp/postback-pg.XXXXXX)
    trap 'rm -rf "$dir"' EXIT
    run() { "$@"; }
    if test "$(id -u)" = 0; then
        user=$(id -un postgres 2>/dev/null || echo nobody)
        chown "$user" "$dir"
        run() { runuser -u "$user" -- "$@"; }
    fi
    cd "$dir"
    run "$bin/initdb" -D "$dir/data" -U postback -A trust -E UTF8 --no-locale --no-sync >"$dir/init" 2>&1 \
        || { echo "none: $(tail -n 3 "$dir/init" | tr '\n' ' ')"; exit 1; }
    options="-c listen_addresses= -c unix_socket_directories=$dir -c fsync=$1 -c max_connections=100"
    serve() { run "$bin/pg_ctl" -D "$dir/data" -w -s -l "$dir/log" -o "$options" "$@" </dev/null >/dev/null 2>&1; }
    serve start || { echo "none: $(tail -n 3 "$dir/log" | tr '\n' ' ')"; exit 1; }
    echo "$dir"
    while read -r command; do
        case $command in
            restart) serve -m immediate restart ;;
            stop) serve -m fast stop ;;
            start) serve start ;;
        esac
        echo done
    done
    serve -m immediate stop
"#;

/// A server, and the shell that owns it.
pub(crate) struct Server {
    folder: PathBuf,
    shell: Mutex<Option<Shell>>,
}

struct Shell {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Server {
    /// Starts a server that writes to the disk when the system likes to. The error says what is missing.
    pub(crate) fn start() -> Result<Self, String> {
        Self::start_with("off")
    }

    /// Starts a server. `fsync` says whether each commit is on the disk: `on` or `off`.
    pub(crate) fn start_with(fsync: &str) -> Result<Self, String> {
        let mut shell = Command::new("bash");
        shell.args(["-c", SCRIPT, "bash", fsync]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.spawn().map_err(|error| format!("bash: {error}"))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (commands, answers) = pipes.ok_or_else(|| "the shell has no pipes".to_owned())?;
        let mut shell = Shell { child, commands, answers: BufReader::new(answers) };
        let said = shell.answer();
        match said.strip_prefix("none: ") {
            None if said.starts_with('/') => Ok(Self { folder: said.into(), shell: Mutex::new(Some(shell)) }),
            why => Err(format!("PostgreSQL cannot be started: {}", why.unwrap_or(&said))),
        }
    }

    /// Returns the URL of the server's database `postgres`, with a schema.
    pub(crate) fn url(&self, schema: &str) -> String {
        format!("postgres://postback@localhost/postgres?host={}&search_path={schema}", self.folder.display())
    }

    /// Runs a command: `restart` (without a proper stop), `stop` or `start`. Returns after the server has done that.
    pub(crate) fn command(&self, command: &str) {
        if let Some(shell) = &mut *self.shell.lock().unwrap_or_else(PoisonError::into_inner) {
            let written = writeln!(shell.commands, "{command}");
            let said = shell.answer();
            assert!(written.is_ok() && said == "done", "{command}: {said}");
        }
    }
}

impl Shell {
    fn answer(&mut self) -> String {
        let mut line = String::new();
        let _ = self.answers.read_line(&mut line);
        line.trim_end().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(Shell { mut child, commands, .. }) =
            self.shell.lock().unwrap_or_else(PoisonError::into_inner).take()
        {
            drop(commands);
            let _ = child.wait();
        }
    }
}
