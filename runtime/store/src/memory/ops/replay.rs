//! Refuses to send a delivery again: the memory backend deletes the body of a report when its delivery is over.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::{Replay, Replayed};
use crate::record::DeliveryState;

impl Apply for Replay {
    fn apply(&self, tables: &mut Tables, _: Now) -> Replayed {
        match tables.reports.get(&self.delivery).map(|row| row.state) {
            None => Replayed::Unknown,
            Some(DeliveryState::Pending | DeliveryState::Delivering) => Replayed::NotOver,
            Some(DeliveryState::Delivered | DeliveryState::Dead | DeliveryState::Refused | DeliveryState::Gone) => {
                Replayed::NoBody
            }
        }
    }
}
