//! The commands `completions` and `man`: what a shell and `man` need to know about the program.

use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

/// The arguments of `completions`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Returns the script that makes the shell complete the command line of `program`, whose command line is `command`.
    pub(super) fn script(&self, mut command: Command, program: &str) -> String {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, program, &mut script);
        String::from_utf8_lossy(&script).into_owned()
    }
}

/// The arguments of `man`.
#[derive(Debug, Args)]
pub(crate) struct ManPage {
    /// Write a page for each command into this folder, instead of printing the page of the program
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

impl ManPage {
    /// Returns the text to print, or the reason why the command has failed.
    pub(super) fn pages(&self, command: Command) -> Result<String, String> {
        let Some(folder) = &self.dir else {
            let mut page = Vec::new();
            Man::new(command).render(&mut page).map_err(|error| error.to_string())?;
            return Ok(String::from_utf8_lossy(&page).into_owned());
        };
        let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
        written.map_err(|error| format!("the pages cannot be written to {}: {error}", folder.display()))?;
        Ok(String::new())
    }
}
