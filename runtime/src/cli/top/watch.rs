//! Asks the server again and again, and shows what it says.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::draw;
use super::figures::Figures;
use super::keys::{self, Asked};
use super::sample::Sample;
use super::screen::Screen;
use crate::admin::client::{Client, ClientError};
use crate::cli::remote::said;
use crate::telemetry;

/// The longest time for which the server is waited for, if the interval is shorter.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many rates are kept for the curve.
const HISTORY: usize = 240;

/// What is shown.
pub(super) struct View {
    pub(super) figures: Figures,
    last: Sample,
    /// The requests per second of the last intervals, the latest last.
    pub(super) history: VecDeque<f64>,
    /// Since when the server has not answered, and why.
    pub(super) away: Option<(Instant, String)>,
    pub(super) is_paused: bool,
    pub(super) shows_help: bool,
    /// The list that the arrows move in.
    pub(super) list: usize,
    /// The first row that is shown of each list.
    pub(super) tops: [usize; View::LISTS],
    pub(super) colour: bool,
}

impl View {
    /// Routes, origins, failures.
    pub(super) const LISTS: usize = 3;

    fn new(first: Sample) -> Self {
        let colour = anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
        Self {
            figures: Figures::between(&first, &first),
            last: first,
            history: VecDeque::new(),
            away: None,
            is_paused: false,
            shows_help: false,
            list: 0,
            tops: [0; Self::LISTS],
            colour,
        }
    }

    fn took(&mut self, taken: Result<Sample, ClientError>) {
        match taken {
            Ok(sample) => {
                self.figures = Figures::between(&self.last, &sample);
                self.last = sample;
                self.away = None;
                if self.history.len() == HISTORY {
                    self.history.pop_front();
                }
                self.history.push_back(self.figures.requests.map_or(0.0, |flow| flow.accepted));
            }
            Err(error) => {
                let since = self.away.take().map_or_else(Instant::now, |(since, _)| since);
                self.away = Some((since, said(&error)));
            }
        }
    }

    fn asked(&mut self, asked: Asked) {
        match asked {
            Asked::End | Asked::Redraw => {}
            Asked::Pause => self.is_paused = !self.is_paused,
            Asked::Help => self.shows_help = !self.shows_help,
            Asked::NextList => self.list = (self.list + 1) % Self::LISTS,
            Asked::EarlierList => self.list = (self.list + Self::LISTS - 1) % Self::LISTS,
            Asked::Move(rows) => {
                let Figures { routes, origins, failures, .. } = &self.figures;
                let last = [routes.len(), origins.len(), failures.len()][self.list].saturating_sub(1);
                let top = &mut self.tops[self.list];
                let by = usize::try_from(rows.unsigned_abs()).unwrap_or(usize::MAX);
                *top = if rows < 0 { top.saturating_sub(by) } else { top.saturating_add(by).min(last) };
            }
        }
    }
}

/// A question to the server that is not answered yet.
type Asking<'c> = Pin<Box<dyn Future<Output = Result<Sample, ClientError>> + 'c>>;

/// Shows the server until somebody ends the view, or until `interrupted`.
pub(super) async fn watch(
    client: &Client,
    interval: Duration,
    first: Sample,
    interrupted: impl Future<Output = ()>,
) -> Result<(), String> {
    let mut screen = Screen::open()?;
    // A line of the log would be written over the view.
    telemetry::set_level("off");
    let mut keys = keys::read()?;
    let mut view = View::new(first);
    let mut timer = tokio::time::interval_at(Instant::now() + interval, interval);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut interrupted = pin!(interrupted);
    let mut asking: Option<Asking<'_>> = None;
    loop {
        screen.draw(|frame| draw::draw(frame, &view))?;
        let answer = async {
            match &mut asking {
                Some(asking) => asking.await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = &mut interrupted => return Ok(()),
            asked = keys.recv() => match asked {
                None | Some(Asked::End) => return Ok(()),
                Some(asked) => view.asked(asked),
            },
            taken = answer => {
                asking = None;
                view.took(taken);
            }
            _ = timer.tick() => {
                if asking.is_none() && !view.is_paused {
                    asking = Some(Box::pin(ask(client, interval.max(PATIENCE))));
                }
            }
        }
    }
}

/// Asks the server. One that hangs is shown as one that is away.
async fn ask(client: &Client, patience: Duration) -> Result<Sample, ClientError> {
    let slow = || ClientError::Unreachable(format!("no answer within {} s", patience.as_secs()));
    tokio::time::timeout(patience, Sample::take(client)).await.unwrap_or_else(|_| Err(slow()))
}
