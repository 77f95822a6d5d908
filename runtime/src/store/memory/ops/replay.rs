//! Refuses to send a delivery again: the memory backend deletes the body of a report when its delivery is over.

use super::Apply;
use crate::store::clock::Now;
use crate::store::memory::Tables;
use crate::store::ops::{Replay, Replayed};
use crate::store::record::DeliveryState;

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
