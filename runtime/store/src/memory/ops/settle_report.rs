//! Records an attempt, and changes the state of its report.

use super::Apply;
use crate::clock::Now;
use crate::memory::Tables;
use crate::ops::{SettleReport, SettledReport};
use crate::record::{DeliveryState, Next};

impl Apply for SettleReport {
    fn apply(&self, tables: &mut Tables, now: Now) -> SettledReport {
        let id = self.claim.id;
        let Some(row) = tables.current_report(&self.claim) else { return SettledReport::Stale };
        row.last = Some(self.attempt.clone());
        row.state = match self.next {
            Next::RetryAt(due) => {
                row.state = DeliveryState::Pending;
                row.due = due;
                let key = (due, row.seq);
                tables.due_reports.insert(key, id);
                return SettledReport::Current;
            }
            Next::Delivered | Next::DeliveredLast => DeliveryState::Delivered,
            Next::Dead => DeliveryState::Dead,
            Next::Refused => DeliveryState::Refused,
            Next::Gone { .. } => DeliveryState::Gone,
        };
        let disabled = self.next.disables().then(|| row.new.to.url().to_owned());
        tables.finish_report(id, now.wall);
        match disabled {
            Some(url) => {
                tables.parked.disable(&url, now.wall, self.attempt.error.clone().unwrap_or_default());
                SettledReport::Disabled(url)
            }
            None => SettledReport::Current,
        }
    }
}
