//! The task that takes what was handed in.
//!
//! The task looks when the program says that it has committed something, and once a second in any case. A row that finds
//! no room, because too many requests wait, is left for the next look. A row that can never be taken is set aside, so
//! that it does not hold up others.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;

use super::content::HandedIn;
use crate::backlog::OwnerLimits;
use crate::handed_in::PAGE;
use crate::ops::{Kind, Post, Posted, Submit};
use crate::record::{NewRequest, Submitted};
use crate::shutdown::Shutdown;
use crate::sizes::CLAIM_BYTES;
use crate::summary::{Stage, Summary};
use crate::{Error, Store, warn_unless_logged};
use postback_wire::id::RequestId;
use postback_wire::line::{Causes, Escaped};
use postback_wire::names::metric;

/// How often the task looks without a signal.
const LOOK: Duration = Duration::from_secs(1);
/// The number of pages without a row that found room after which a look ends. The next look goes on from there.
const MOST_IN_VAIN: usize = 10;

/// What has become of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The row is gone: it was taken now, or before.
    Gone,
    /// There is no room at the moment.
    Later,
    SetAside,
}

/// Takes what was handed in, until the shutdown begins.
pub async fn run(store: Store, shutdown: Shutdown) {
    if store.hand_in_statement().is_none() {
        return shutdown.stopping().await;
    }
    let (mut after, mut is_told) = (String::new(), false);
    loop {
        let found_room = tokio::select! {
            () = shutdown.stopping() => return,
            found_room = store.look(&mut after) => found_room,
        };
        // Without room, another look finds none either until something ends, however often the program signals.
        let heeds_signals = matches!(found_room, Ok(true));
        match found_room {
            Ok(true) => is_told = false,
            Ok(false) if !is_told => {
                is_told = true;
                tracing::warn!(
                    "what was handed in waits in the table handed_in, because the store has no room for it now"
                );
            }
            Ok(false) => {}
            Err(Error::Closed) => return shutdown.stopping().await,
            Err(error) => {
                warn_unless_logged!(error, "what was handed in cannot be taken; the store retries: {}", Causes(&error));
            }
        }
        tokio::select! {
            () = shutdown.stopping() => return,
            () = store.0.shared.local.wake.handed_in.notified(), if heeds_signals => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

impl Store {
    /// Takes the rows after `after`, up to the last, and sets `after` to where the next look begins. Returns `false`
    /// if a row found no room.
    pub(crate) async fn look(&self, after: &mut String) -> Result<bool, Error> {
        let (mut found_room, mut in_vain) = (true, 0);
        while in_vain < MOST_IN_VAIN {
            let listed = self.reader()?.hand_ins(after.clone()).await.map_err(Error::Backend)?;
            let is_last = i64::try_from(listed.len()).is_ok_and(|rows| rows < PAGE);
            let (mut ids, mut bytes, rows) = (Vec::new(), 0, listed.len());
            for (id, length) in listed {
                bytes += usize::try_from(length).unwrap_or(usize::MAX);
                if bytes > CLAIM_BYTES && !ids.is_empty() {
                    break;
                }
                ids.push(id);
            }
            let is_last = is_last && ids.len() == rows;
            let next = ids.last().cloned().filter(|_| !is_last).unwrap_or_default();
            // If a row of this page causes an error, the next look begins after the page, so that the row does not hold up
            // the rows behind it.
            *after = next;
            let contents = self.reader()?.hand_in_contents(ids).await.map_err(Error::Backend)?;
            let taken = join_all(contents.iter().map(|(id, content)| self.take(id.clone(), content)));
            let taken = taken.await.into_iter().collect::<Result<Vec<_>, Error>>()?;
            found_room &= !taken.contains(&Taken::Later);
            in_vain = if taken.iter().all(|taken| *taken == Taken::Later) { in_vain + 1 } else { 0 };
            if is_last {
                break;
            }
        }
        Ok(found_room)
    }

    /// Takes a request that was handed in now, if there is one with this id. Returns what is known of it without a look at
    /// the other tables: perhaps it found no room, or another node is taking it. `None`: no such request was handed in.
    pub(crate) async fn take_request(&self, id: &RequestId) -> Result<Option<Summary>, Error> {
        let contents = self.reader()?.hand_in_contents(vec![id.to_string()]).await.map_err(Error::Backend)?;
        let Some((id, content)) = contents.into_iter().next() else { return Ok(None) };
        let Ok(HandedIn::Request(request)) = HandedIn::read(&id, &content) else { return Ok(None) };
        // If it cannot be taken now, the task takes it later.
        drop(self.take(id, &content).await);
        let NewRequest { route, owner, extras, .. } = *request;
        Ok(Some(Summary { route, owner, extras, stage: Stage::Queued }))
    }

    /// Takes a row. After an error, the row may be taken later.
    pub(crate) async fn take(&self, id: String, content: &Bytes) -> Result<Taken, Error> {
        let handed_in = match HandedIn::read(&id, content) {
            Ok(handed_in) => handed_in,
            Err(problem) => return self.cannot_take(id, &problem).await,
        };
        let taken = match handed_in {
            HandedIn::Request(request) => {
                // Nobody is refused here, so a row without room must not count as a refusal.
                if !self.has_room(&request) {
                    return Ok(Taken::Later);
                }
                let Ok(slot) = self.slot_of(&request, OwnerLimits::default()) else { return Ok(Taken::Later) };
                let submit = Submit { request, room: None, is_handed_in: true, slot: Some(slot) };
                self.written::<Submit>(submit).await.map(|answer| {
                    if answer == Submitted::Conflict {
                        let id = Escaped(&id);
                        tracing::error!(
                            "the request {id} was handed in, but another request has its id; it is dropped"
                        );
                    }
                    (answer == Submitted::New).then_some("request")
                })
            }
            HandedIn::Reports(reports) => {
                let answer = self.written::<Post>(Post::handed_in(reports)).await;
                answer.map(|answer| (answer == Posted::Written).then_some("reports"))
            }
        };
        match taken {
            Ok(kind) => {
                if let Some(kind) = kind {
                    metrics::counter!(metric::HANDED_IN, "kind" => kind).increment(1);
                    tracing::debug!("what was handed in as {} is taken", Escaped(&id));
                }
                Ok(Taken::Gone)
            }
            Err(Error::Full | Error::Refused(_)) => Ok(Taken::Later),
            Err(error @ Error::Unwritable(_)) => {
                let problem = Causes(&error).to_string();
                self.cannot_take(id, &problem).await
            }
            Err(error) => Err(error),
        }
    }

    async fn written<K: Kind>(&self, op: K) -> Result<K::Answer, Error> {
        K::answer(self.inbox().push(op.into()).await?.wait().await?).ok_or(Error::Closed)
    }

    async fn cannot_take(&self, id: String, problem: &str) -> Result<Taken, Error> {
        self.set_aside(id.clone(), problem.to_owned()).await?;
        metrics::counter!(metric::HANDED_IN, "kind" => "set_aside").increment(1);
        let (id, problem) = (Escaped(&id), Escaped(problem));
        tracing::error!(
            "what was handed in as {id} cannot be taken, and is set aside in the table handed_in: {problem}"
        );
        Ok(Taken::SetAside)
    }
}
