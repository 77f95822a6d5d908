//! Tests of README.md: they run every command in it, and read every settings file in it.
//!
//! The doc tests of `postback` compile the Rust code of README.md.

mod blocks;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use libtest_mimic::Trial;
use postback_tests::need::{self, trial};
use postback_tests::{Process, eventually};
use serde_json::{Deserializer, Value};
use tempfile::TempDir;

use self::blocks::Block;

/// The default ports of the example: the server's, and the inspector's.
const PORTS: [u16; 2] = [8080, 4000];

fn main() -> ExitCode {
    let arguments = need::arguments();
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let blocks = blocks::parse(&readme);
    let commands: Vec<Block> = blocks.iter().filter(|block| block.language == "sh").cloned().collect();
    let (all, later) = (commands.clone(), commands.clone());
    let needs = [need::program("bash"), need::program("curl"), need::port(PORTS[0]), need::port(PORTS[1])];
    let mut trials = vec![
        trial("every_command_is_one_that_is_run_here", [], move || every_command_is_one_that_is_run_here(&blocks)),
        trial("main_command", needs, move || main_command(&all)),
        trial("test_command_is_the_one_ci_runs", [need::program("bash")], move || {
            test_command_is_the_one_ci_runs(&later);
        }),
    ];
    let shown = blocks::parse(&readme);
    trials.push(trial("the_settings_are_those_of_the_program", [], move || {
        the_settings_are_those_of_the_program(&shown)
    }));
    trials.extend(settings(&blocks::parse(&readme)));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// The root folder of the workspace.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// A temporary folder. It is inside the workspace, so that cargo finds the workspace, and git ignores it.
fn folder() -> TempDir {
    let target = root().join("target");
    std::fs::create_dir_all(&target).expect("the folder target");
    tempfile::Builder::new().prefix("readme-").tempdir_in(target).expect("a folder")
}

fn every_command_is_one_that_is_run_here(blocks: &[Block]) {
    let mut number = 0;
    for Block { language, line, text } in blocks {
        match language.as_str() {
            "sh" => {
                number += 1;
                assert!(number <= 2 || text.starts_with("curl "), "line {line}: no test runs this:\n{text}");
            }
            "bash" | "shell" | "console" | "" => panic!("line {line}: commands are in blocks named `sh`:\n{text}"),
            _ => {}
        }
    }
}

/// The block with all settings is the file of the defaults, whose values other tests compare with the program.
fn the_settings_are_those_of_the_program(blocks: &[Block]) {
    let defaults = std::fs::read_to_string(root().join("runtime/src/settings/default.toml")).expect("default.toml");
    let is_shown = |block: &Block| block.language == "toml" && block.text.trim_end() == defaults.trim_end();
    assert!(blocks.iter().any(is_shown), "copy runtime/src/settings/default.toml into README.md");
}

fn main_command(commands: &[Block]) {
    let folder = folder();
    let main = commands[0].text.trim_end();
    assert_eq!(main.lines().count(), 1, "one command, which bash then becomes, so that signals reach it:\n{main}");
    // The build has no time limit, so it comes first. The start of the built program has a limit.
    let (build, _) = main.split_once(" -- ").expect("`cargo run … -- …`");
    let (status, output, _) = run(&build.replacen("cargo run", "cargo build", 1), folder.path(), "");
    assert_eq!(status, Some(0), "{output}");

    let mut process = Process::start("bash", folder.path(), &["-c", main], &[]);
    process.ready();
    let mut id = String::new();
    for block in commands.iter().filter(|block| block.text.starts_with("curl ")) {
        let Block { text, line, .. } = block;
        let (status, errors, answer) = run(text, folder.path(), &id);
        assert_eq!(status, Some(0), "line {line}: {text}{errors}{answer}");
        assert!(!answer.contains("error: "), "line {line}: {text}{answer}");
        if let Some(new_id) = id_in(&answer).filter(|new_id| *new_id != id) {
            eventually(&format!("the webhook of {new_id} in the inspector"), || {
                let output = process.output();
                let is_there = output.lines().any(|line| line.contains("webhook POST ") && line.contains(&new_id));
                if is_there { Ok(()) } else { Err(output) }
            });
            id = new_id;
        }
    }
    assert!(!id.is_empty(), "no command of README.md posts a request");
    process.interrupt();
    assert_eq!(process.ended().code(), Some(0), "{}", process.output());
}

/// Runs commands in bash. Returns the exit code, standard error and standard output.
fn run(commands: &str, folder: &Path, id: &str) -> (Option<i32>, String, String) {
    let outside = tempfile::tempdir().expect("a folder");
    let file = |name: &str| File::create(outside.path().join(name)).expect("a file");
    let mut command = Command::new("bash");
    command.args(["-c", commands]).current_dir(folder).env("ID", id);
    command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
    let status = command.status().expect("bash");
    let read = |name: &str| std::fs::read_to_string(outside.path().join(name)).expect("text");
    (status.code(), read("stderr"), read("stdout"))
}

/// The member `id` of the first JSON object in the answer.
fn id_in(answer: &str) -> Option<String> {
    let json = &answer[answer.find('{')?..];
    let value = Deserializer::from_str(json).into_iter::<Value>().next()?.ok()?;
    value["id"].as_str().map(str::to_owned)
}

fn test_command_is_the_one_ci_runs(commands: &[Block]) {
    let output = Command::new("bash").arg(root().join(".ci/readme-block")).arg("2").output().expect("bash");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), commands[1].text);
    assert_eq!(commands[1].text, "cargo test --workspace\n");
    let ci = std::fs::read_to_string(root().join(".ci/run")).expect(".ci/run");
    let repeats = ci.contains(commands[1].text.trim());
    assert!(ci.contains("test_command=$(.ci/readme-block 2)") && !repeats, "read, not repeated");
}

/// Makes one test for each settings file. A block for a Cargo.toml is not a settings file.
fn settings(blocks: &[Block]) -> Vec<Trial> {
    let files = blocks.iter().filter(|block| block.language == "toml" && !block.text.starts_with("[dependencies"));
    let test = |block: &Block| {
        let text = block.text.clone();
        trial(&format!("settings_of_line_{}", block.line), [], move || are_settings(&text))
    };
    files.map(test).collect()
}

fn are_settings(text: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("given.toml"), text).expect("the settings");
    let arguments = ["check", "--config", "given.toml"];
    let mut process = Process::start(env!("CARGO_BIN_EXE_workload"), folder.path(), &arguments, &[]);
    assert_eq!(process.ended().code(), Some(0), "{}", process.output());
}
