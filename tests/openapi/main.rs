//! Checks `/openapi.json` with programs of others: a validator, a generator of clients, and a program that sends calls
//! by the document and looks for answers that are not in it.
//!
//! The programs are Python packages. They are installed into the target folder when the tests run. If they cannot be
//! installed, the tests are ignored.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use postback_tests::need::{self, trial};
use postback_tests::{Process, python};
use tempfile::TempDir;

const PACKAGES: [&str; 3] = ["schemathesis==4.32.5", "openapi-python-client==0.29.1", "openapi-spec-validator==0.9.0"];
/// The token of the operator.
const TOKEN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef";
/// The routes to which calls are sent. Their handlers end soon with every payload that their schema allows.
const ROUTES: &str = "^/(described|echo|bytes|flaky|healthz|readyz|openapi.json|.well-known/jwks.json)(/|$)";

/// A test. It gets the folder of the Python packages.
type Test = fn(&Path);

fn main() -> ExitCode {
    let arguments = need::arguments();
    // A listing of the tests does not need the Python packages.
    let packages =
        if arguments.list { Err(String::new()) } else { python::packages(env!("CARGO_TARGET_TMPDIR"), &PACKAGES) };
    let missing = || packages.as_ref().map(drop).map_err(Clone::clone);
    let folder = packages.clone().unwrap_or_default();
    let tests: [(&str, Test); 4] = [
        ("the_document_is_valid", the_document_is_valid),
        ("a_generated_client_works", a_generated_client_works),
        ("calls_by_the_document_get_answers_that_it_describes", calls_by_the_document_get_answers_that_it_describes),
        ("so_do_calls_of_the_operators_api", so_do_calls_of_the_operators_api),
    ];
    let trials = tests.map(|(name, test)| {
        let folder = folder.clone();
        trial(name, [missing()], move || test(&folder))
    });
    libtest_mimic::run(&arguments, trials.into()).exit_code()
}

/// A folder with the document that the server program prints.
struct Printed {
    folder: TempDir,
    document: PathBuf,
}

impl Printed {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let output = Command::new(env!("CARGO_BIN_EXE_workload")).arg("openapi").current_dir(&folder).output();
        let output = output.expect("the program workload");
        assert!(output.status.success(), "{}", said(&output));
        let document = folder.path().join("openapi.json");
        std::fs::write(&document, output.stdout).expect("a file");
        Self { folder, document }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the server in the folder.
    fn server(&self) -> (Process, String) {
        let arguments = ["serve", "--listen", "127.0.0.1:0"];
        let mut process = Process::start(env!("CARGO_BIN_EXE_workload"), self.folder.path(), &arguments, &[]);
        let url = process.ready();
        (process, url)
    }

    /// Runs Python in the folder, with the installed packages and the modules in the folder.
    fn python(&self, packages: &Path, arguments: &[&str]) -> String {
        let paths = std::env::join_paths([packages, self.folder.path()]).expect("paths without separators");
        let mut python = Command::new("python3");
        python.args(arguments).current_dir(&self.folder).env("PYTHONPATH", paths).stdin(Stdio::null());
        let output = python.output().expect("python3");
        assert!(output.status.success(), "python3 {} ended with {}:\n{}", arguments[0], output.status, said(&output));
        said(&output)
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}

fn the_document_is_valid(packages: &Path) {
    let printed = Printed::new();
    let output = printed.python(packages, &["-m", "openapi_spec_validator", text(&printed.document)]);
    assert!(output.contains(": OK"), "{output}");
}

fn a_generated_client_works(packages: &Path) {
    let printed = Printed::new();
    // By default the generator runs a program that formats the client.
    std::fs::write(printed.path("settings.yml"), "post_hooks: []\n").expect("a file");
    let arguments = ["generate", "--path", text(&printed.document), "--meta", "none", "--output-path", "generated"];
    let arguments = [&["-m", "openapi_python_client"], &arguments[..], &["--config", "settings.yml"]].concat();
    let output = printed.python(packages, &arguments);
    // The generator leaves out what it does not understand, and only warns.
    assert!(!output.contains("WARNING") && !output.contains("ERROR"), "{output}");
    let (_process, url) = printed.server();
    let said = printed.python(packages, &["-c", include_str!("client.py"), &url, text(&printed.path("gate"))]);
    assert_eq!(said.trim(), "the client works");
}

fn calls_by_the_document_get_answers_that_it_describes(packages: &Path) {
    send_calls(packages, &Printed::new(), "/openapi.json", &["--include-path-regex", ROUTES]);
}

fn so_do_calls_of_the_operators_api(packages: &Path) {
    let printed = Printed::new();
    std::fs::write(printed.path("postback.toml"), format!("[server]\nadmin_token = {TOKEN:?}\n")).expect("a file");
    // The feed of changes has no end.
    let arguments = ["--header", &format!("Authorization: Bearer {TOKEN}"), "--exclude-path-regex", "/changes$"];
    send_calls(packages, &printed, "/_postback/api/openapi.json", &arguments);
}

/// Sends calls to a server by one of its documents. Fails if an answer is not as the document says.
fn send_calls(packages: &Path, printed: &Printed, path: &str, arguments: &[&str]) {
    std::fs::write(printed.path("schemathesis.toml"), include_str!("schemathesis.toml")).expect("a file");
    std::fs::write(printed.path("hooks.py"), include_str!("hooks.py")).expect("a file");
    let (mut process, url) = printed.server();
    let document = format!("{url}{path}");
    // The seed makes each run send nearly the same calls. They take some seconds.
    let limits = ["--max-examples", "10", "--seed", "1", "--request-timeout", "10", "--generation-database", "none"];
    let run = ["-m", "schemathesis.cli", "--no-color", "run", &document];
    let output = printed.python(packages, &[&run[..], arguments, &limits].concat());
    assert!(output.contains(" passed"), "{output}");
    assert!(process.is_running(), "{}", process.output());
}
