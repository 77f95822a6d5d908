//! What others may ask of a running delivery: which circuits are open, to use other options, and to tell a progress. The
//! loop answers between two events, so an answer shows one moment, and nothing is paid while nobody asks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::Options;
#[cfg(feature = "server")]
use super::progress::ProgressOrder;

/// The largest number of questions that wait for the loop.
const MAX_WAITING: usize = 8;

/// A handle to a running delivery. A clone is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Control(mpsc::Sender<Order>);

/// A question or an order to the loop of the delivery.
pub(super) enum Order {
    Circuits(oneshot::Sender<Vec<Circuit>>),
    /// Use these options from now on.
    Replace(Box<Options>),
    /// Make an attempt to send this report now, or not at all.
    #[cfg(feature = "server")]
    Progress(Box<ProgressOrder>),
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

    /// Replaces the options of the delivery, except for the networks, the certificates and the addresses, for which the
    /// HTTP clients were built. Attempts that have begun keep the options that they have.
    pub(crate) async fn replace(&self, options: Options) {
        // Sending fails only if the delivery has ended.
        let _ = self.0.send(Order::Replace(Box::new(options))).await;
    }

    /// Gives an order to the loop. Fails if the delivery has ended.
    #[cfg(feature = "server")]
    pub(super) async fn order(&self, order: Order) -> Result<(), ()> {
        self.0.send(order).await.map_err(drop)
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
