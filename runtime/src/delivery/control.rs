//! What others may ask of a running delivery: which circuits are open. The loop answers between two events, so the
//! answer shows one moment, and asking costs nothing while nobody asks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

/// The largest number of questions that wait for the loop.
const MAX_WAITING: usize = 8;

/// A handle to a running delivery. A clone is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Control(mpsc::Sender<Order>);

/// A question to the loop of the delivery.
pub(super) enum Order {
    Circuits(oneshot::Sender<Vec<Circuit>>),
}

/// An open circuit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Circuit {
    /// The origin, or the URL without its query.
    pub(crate) name: Arc<str>,
    /// The time until a single attempt tests the receiver. `None`: the attempt is in flight.
    pub(crate) test_in: Option<Duration>,
}

impl Control {
    pub(super) fn new() -> (Self, mpsc::Receiver<Order>) {
        let (orders, received) = mpsc::channel(MAX_WAITING);
        (Self(orders), received)
    }

    /// Returns the open circuits, in the order of their names. Returns nothing if the delivery has ended.
    pub(crate) async fn circuits(&self) -> Vec<Circuit> {
        let (answer, answered) = oneshot::channel();
        if self.0.send(Order::Circuits(answer)).await.is_err() {
            return Vec::new();
        }
        answered.await.unwrap_or_default()
    }
}
