//! Deliveries of the memory backend that are to be sent again: what is over has no bytes any more.

use super::Tables;
use crate::id::ReportId;
use crate::store::record::DeliveryState;
use crate::store::replay::Replayed;

impl Tables {
    pub(super) fn replay(&self, delivery: ReportId) -> Replayed {
        match self.reports.get(&delivery).map(|row| row.state()) {
            None => Replayed::Unknown,
            Some(DeliveryState::Pending | DeliveryState::Delivering) => Replayed::NotOver,
            Some(_) => Replayed::NoBody,
        }
    }
}
