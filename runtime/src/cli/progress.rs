//! How far a command has come, on standard error: a bar on a terminal, and otherwise a line now and then.

use std::io::IsTerminal as _;
use std::time::Duration;

use tokio::time::Instant;

use super::print::print_note;

/// How often the plain form writes a line.
const LINE: Duration = Duration::from_secs(5);
/// A command that ends before this time shows no bar.
#[cfg(feature = "terminal")]
const BEFORE_FIRST: Duration = Duration::from_millis(500);

/// Shows how far a command has come. What is shown on a terminal vanishes when the value is dropped.
#[cfg_attr(not(feature = "terminal"), expect(dead_code, reason = "only a bar shows the total and the time"))]
pub(super) struct Progress {
    total: Option<u64>,
    begun: Instant,
    told: Instant,
    form: Form,
}

enum Form {
    Nothing,
    Lines,
    #[cfg(feature = "terminal")]
    Bar(Option<indicatif::ProgressBar>),
}

impl Progress {
    /// Begins. `total` is the number of steps, if it is known. With `--json`, only a person at a terminal sees progress.
    pub(super) fn begin(total: Option<u64>, as_json: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        let form = match (is_terminal, as_json) {
            #[cfg(feature = "terminal")]
            (true, _) => Form::Bar(None),
            (false, true) => Form::Nothing,
            _ => Form::Lines,
        };
        let now = Instant::now();
        Self { total, begun: now, told: now, form }
    }

    /// Shows that `done` steps are done. `what` says it in words.
    #[cfg_attr(not(feature = "terminal"), expect(unused_variables, reason = "only a bar shows `done`"))]
    pub(super) fn at(&mut self, done: u64, what: &str) {
        match &mut self.form {
            Form::Nothing => {}
            Form::Lines => {
                if self.told.elapsed() >= LINE {
                    self.told = Instant::now();
                    print_note(&format!("{what}\n"));
                }
            }
            #[cfg(feature = "terminal")]
            Form::Bar(bar) => {
                if self.begun.elapsed() < BEFORE_FIRST {
                    return;
                }
                let bar = bar.get_or_insert_with(|| new_bar(self.total, self.begun.elapsed()));
                bar.set_position(done);
                bar.set_message(what.to_owned());
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        #[cfg(feature = "terminal")]
        if let Form::Bar(Some(bar)) = &self.form {
            bar.finish_and_clear();
        }
    }
}

#[cfg(feature = "terminal")]
fn new_bar(total: Option<u64>, elapsed: Duration) -> indicatif::ProgressBar {
    use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

    let (template, bar) = match total {
        Some(total) => ("{wide_bar} {percent:>3} %  {msg}  {eta} left", ProgressBar::new(total)),
        None => ("{spinner} {msg}  {elapsed}", ProgressBar::no_length()),
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style);
    bar.set_draw_target(ProgressDrawTarget::stderr());
    bar.with_elapsed(elapsed)
}
