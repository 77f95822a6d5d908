//! Starts the program under test once, and kills it at a planned moment.

use std::path::Path;
use std::time::{Duration, Instant};

use postback_tests::{Process, Shim};

use crate::plan::Moment;

/// The longest wait for the planned call of [`Moment::Call`]. A program under load makes the call before that, unless
/// the machine is slow. After this time the program is killed without the call.
const LONGEST_LIFE: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Starts the program and kills it at this moment. When the program is ready, `ready` is called once. Returns `Err` if
/// the program ended by itself.
pub(crate) fn one_life(
    shim: &Shim,
    moment: Moment,
    start: impl FnOnce(&[(&str, &str)]) -> Process,
    is_ready: impl Fn(&str) -> bool,
    ready: impl FnOnce(&Process),
) -> Result<Process, String> {
    let variables = match moment {
        Moment::Call { number, torn } => shim.killing(number, torn),
        Moment::Starting(_) | Moment::Working(_) => Vec::new(),
    };
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut process = start(&variables);
    let begun = Instant::now();
    let mut ready = Some(ready);
    let mut end = match moment {
        Moment::Starting(pause) => Some(begun + pause),
        Moment::Working(_) => None,
        Moment::Call { .. } => Some(begun + LONGEST_LIFE),
    };
    while process.is_running() && end.is_none_or(|end| Instant::now() < end) {
        if is_ready(&process.output())
            && let Some(ready) = ready.take()
        {
            ready(&process);
            if let Moment::Working(pause) = moment {
                end = Some(Instant::now() + pause);
            }
        }
        std::thread::sleep(LOOK_EVERY);
    }
    match process.kill_and_collect() {
        None => Ok(process),
        Some(end) => Err(format!("the program ended by itself, with {end} ({moment:?}):\n{}", process.output())),
    }
}

/// Builds the shim in its own folder, inside the folder of the program under test.
pub(crate) fn shim(folder: &Path) -> Shim {
    let folder = folder.join("shim");
    std::fs::create_dir_all(&folder).expect("a folder");
    Shim::build(&folder)
}
