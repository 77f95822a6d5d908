//! A PostgreSQL server for tests, in a temporary folder. It ends with this process, however this process ends: a shell
//! owns the server, and stops it when the pipe from this process is closed. (The tests of other packages use this file
//! too, so it uses nothing of this crate.)

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Starts the server, writes the name of its folder, and obeys commands. PostgreSQL refuses to run as root, so root runs
/// it as the user `postgres` or `nobody`. With a folder and a port, it also listens on TCP, with the certificate that is in
/// the folder.
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
    if test -n "$2"; then
        cp "$2/server.pem" "$2/server.key" "$dir"
        chown --reference="$dir" "$dir"/server.*
        chmod 600 "$dir/server.key"
        options="$options -c listen_addresses=127.0.0.1,::1 -c port=$3"
        options="$options -c ssl=on -c ssl_cert_file=$dir/server.pem -c ssl_key_file=$dir/server.key"
    fi
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

/// The port of a server that listens on its Unix socket only. The name of the socket contains the port.
const PORT: u16 = 5432;

/// A server, and the shell that owns it.
pub(crate) struct Server {
    folder: PathBuf,
    port: u16,
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
        Self::start_with("off", None)
    }

    /// Starts a server. `fsync` says whether each commit is on the disk: `on` or `off`. With a folder that has the files
    /// `server.pem` and `server.key`, the server also listens on this port of the loopback addresses, and offers TLS there.
    pub(crate) fn start_with(fsync: &str, tls: Option<(&Path, u16)>) -> Result<Self, String> {
        let mut shell = Command::new("bash");
        shell.args(["-c", SCRIPT, "bash", fsync]);
        let (certificate, port) = tls.unwrap_or((Path::new(""), PORT));
        shell.arg(certificate).arg(port.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = shell.spawn().map_err(|error| format!("bash: {error}"))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (commands, answers) = pipes.ok_or_else(|| "the shell has no pipes".to_owned())?;
        let mut shell = Shell { child, commands, answers: BufReader::new(answers) };
        let said = shell.answer();
        match said.strip_prefix("none: ") {
            None if said.starts_with('/') => Ok(Self { folder: said.into(), port, shell: Mutex::new(Some(shell)) }),
            why => Err(format!("PostgreSQL cannot be started: {}", why.unwrap_or(&said))),
        }
    }

    /// Returns the URL of the server's database `postgres`, with a schema. It leads to the Unix socket.
    pub(crate) fn url(&self, schema: &str) -> String {
        let (folder, port) = (self.folder.display(), self.port);
        format!("postgres://postback@localhost/postgres?host={folder}&port={port}&search_path={schema}")
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
