//! The command `top`: what a running server does, live in the terminal, or once as JSON.

#[cfg(feature = "terminal")]
mod draw;
mod figures;
#[cfg(feature = "terminal")]
mod keys;
mod sample;
#[cfg(feature = "terminal")]
mod screen;
#[cfg(feature = "terminal")]
mod watch;

use std::path::Path;
use std::pin::pin;
use std::time::Duration;

use clap::Args;

use self::figures::Figures;
use self::sample::Sample;
use super::remote::{Remote, json, said};
use postback_store as store;

const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_mins(1);
const ABOUT: &str = "The live view needs the feature `terminal`; --json does not. Keys: q ends, p pauses, Tab chooses a list, arrows and PgUp/PgDn move in it, ? shows help.";

/// The arguments of `top`.
#[derive(Debug, Args)]
#[command(after_help = ABOUT)]
pub(crate) struct Top {
    /// Ask the server this often
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = interval)]
    interval: Duration,
    /// Print the figures of one interval as JSON, and end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

fn interval(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (SHORTEST..=LONGEST).contains(&time) { Ok(time) } else { Err("the interval is 200ms to 1m".to_owned()) }
}

impl Top {
    pub(super) fn common(&self) -> &super::Common {
        &self.remote.common
    }

    /// Runs the command until somebody ends it, or until `interrupted`. Returns the text to print, or the reason why the
    /// command has failed.
    pub(crate) async fn run(
        &self,
        options: &store::Options,
        ca_file: Option<&Path>,
        interrupted: impl Future<Output = ()>,
    ) -> Result<String, String> {
        let client = self.remote.client(&options.place, ca_file)?;
        let mut interrupted = pin!(interrupted);
        let first = tokio::select! {
            () = &mut interrupted => return Ok(String::new()),
            first = Sample::take(&client) => first.map_err(|error| said(&error))?,
        };
        if self.json {
            tokio::select! {
                () = interrupted => return Ok(String::new()),
                () = tokio::time::sleep(self.interval) => {}
            }
            let second = Sample::take(&client).await.map_err(|error| said(&error))?;
            return json(&Figures::between(&first, &second));
        }
        #[cfg(feature = "terminal")]
        return watch::watch(&client, self.interval, first, interrupted).await.map(|()| String::new());
        #[cfg(not(feature = "terminal"))]
        Err("the live view needs the feature `terminal` of postback, and this program was built without it: build it \
             with `cargo add postback --features terminal`, or use `top --json`"
            .to_owned())
    }
}
