//! The tasks that make the tries. They are kept and given the next one: a try's own state takes some kilobytes, and what comes
//! and goes as often, from thread to thread, costs an allocator more than the try's decisions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::deliver::Deliverer;
use super::dispatch::{Slot, Work};
use crate::shutdown::Shutdown;

/// Tasks that wait for work, at most; further ones end.
const MOST_IDLE: usize = 256;

/// See the module.
pub(super) struct Runners {
    deliverer: Arc<Deliverer>,
    shutdown: Shutdown,
    idle: Idle,
}

type Idle = Arc<Mutex<Vec<Arc<Seat>>>>;

/// Where one task waits.
#[derive(Default)]
struct Seat {
    /// What it is to do next; nothing, if it is to end.
    next: Mutex<Option<(Work, Slot)>>,
    called: Notify,
}

impl Runners {
    pub(super) fn new(deliverer: Arc<Deliverer>, shutdown: Shutdown) -> Self {
        Self { deliverer, shutdown, idle: Idle::default() }
    }

    /// Begins a try.
    pub(super) fn run(&self, work: Work, slot: Slot) {
        let idle = lock(&self.idle).pop();
        if let Some(seat) = idle {
            *lock(&seat.next) = Some((work, slot));
            seat.called.notify_one();
        } else {
            let (deliverer, idle, shutdown) = (self.deliverer.clone(), self.idle.clone(), self.shutdown.clone());
            self.shutdown.spawn(run(deliverer, idle, shutdown, work, slot));
        }
    }

    /// Lets all tasks end, each when it has nothing left to do.
    pub(super) fn dismiss(&self) {
        for seat in std::mem::take(&mut *lock(&self.idle)) {
            seat.called.notify_one();
        }
    }
}

impl Drop for Runners {
    fn drop(&mut self) {
        self.dismiss();
    }
}

async fn run(deliverer: Arc<Deliverer>, idle: Idle, shutdown: Shutdown, work: Work, slot: Slot) {
    let seat = Arc::<Seat>::default();
    let mut next = Some((work, slot));
    while let Some((work, slot)) = next {
        deliverer.deliver(work, slot, &shutdown).await;
        {
            let mut idle = lock(&idle);
            if idle.len() >= MOST_IDLE || shutdown.is_stopping() {
                return;
            }
            idle.push(seat.clone());
        }
        seat.called.notified().await;
        next = lock(&seat.next).take();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
