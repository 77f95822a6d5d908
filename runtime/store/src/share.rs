//! Shares free slots fairly: the line with the fewest running requests gets the next slot. A line is a route among the
//! routes of a worker, or an owner among the owners of a route.
//!
//! So a line with a long backlog has all slots while it is alone. As soon as a request of another line waits, that
//! request gets the next free slot. Of lines with equally many running requests, the one that has waited longest for
//! its turn is first: with a single slot, nothing runs at the time of the choice, and the lines must still take turns.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use crate::record::Owner;
use postback_wire::time::Timestamp;

/// The largest number of owners of one route among whom a claim chooses at a time. The next claim begins after the last
/// owner that was chosen. So a claim costs the same however many owners have waiting requests, and each has its turn.
pub(crate) const OWNERS: usize = 32;

/// Whose turn it was last. This is not stored, because it matters only while the process runs.
#[derive(Default)]
pub(crate) struct Turns {
    count: u64,
    /// The number of the last turn of each route, and the owner that had the last turn.
    routes: HashMap<String, (u64, Option<Owner>)>,
}

impl Turns {
    /// Returns when the route last had a turn. A smaller number is longer ago.
    pub(crate) fn of(&self, route: &str) -> u64 {
        self.routes.get(route).map_or(0, |(turn, _)| *turn)
    }

    /// Returns the owner of this route that had the last turn. `None`: no owner of it has had a turn.
    pub(crate) fn last_owner(&self, route: &str) -> Option<&Owner> {
        self.routes.get(route)?.1.as_ref()
    }

    /// Records that requests of this route are claimed now. `owner` is the last owner that had its turn. `None`: the
    /// owner whose turn is next was skipped, so its turn is still next.
    pub(crate) fn served(&mut self, route: &str, owner: Option<Owner>) {
        self.count += 1;
        match (self.routes.get_mut(route), owner) {
            (Some(turn), Some(owner)) => *turn = (self.count, Some(owner)),
            (Some((turn, _)), None) => *turn = self.count,
            (None, owner) => drop(self.routes.insert(route.to_owned(), (self.count, owner))),
        }
    }
}

/// A route or an owner that may get slots.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The number of its running requests.
    pub running: usize,
    /// How many more of its requests may run.
    pub free: usize,
    /// When it last had a turn. A smaller number is longer ago.
    pub turn: u64,
    /// The due time of its first waiting request. `None`: none of its requests can be claimed.
    pub due: Option<Timestamp>,
}

/// Divides free slots among the lines. Returns pairs: the index of a line, and the number of its slots. The pairs are
/// in the order in which the lines should claim: the line with the smallest number of running requests comes first. If
/// two lines have equal numbers, the line whose last turn is longer ago comes first, and then the line whose first
/// request has been due longest. The result assumes that each line has enough waiting requests for its slots.
pub(crate) fn shares(lines: &[Line], slots: usize) -> Vec<(usize, usize)> {
    let waiting = lines.iter().enumerate().filter(|(_, line)| line.free > 0);
    let waiting = waiting.filter_map(|(place, line)| Some((line.running, line.turn, line.due?, place)));
    let mut order: Vec<_> = waiting.collect();
    if let [(.., place)] = order[..] {
        let share = lines.get(place).map_or(0, |line| line.free.min(slots));
        return if share > 0 { vec![(place, share)] } else { Vec::new() };
    }
    let mut next: BinaryHeap<_> = order.iter().copied().map(Reverse).collect();
    let mut shares = vec![0_usize; lines.len()];
    for _ in 0..slots {
        let Some(Reverse((running, turn, due, place))) = next.pop() else { break };
        let (Some(share), Some(line)) = (shares.get_mut(place), lines.get(place)) else { continue };
        *share += 1;
        if *share < line.free {
            next.push(Reverse((running + 1, turn, due, place)));
        }
    }
    order.sort_unstable();
    let given = order.into_iter().map(|(.., place)| (place, shares.get(place).copied().unwrap_or(0)));
    given.filter(|(_, share)| *share > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(running: usize, due: Option<i64>) -> Line {
        Line { running, free: usize::MAX, turn: 0, due: due.map(Timestamp::from_micros) }
    }

    #[test]
    fn slots_go_to_who_has_least() {
        let lines = [line(60, Some(1)), line(0, Some(9)), line(2, None)];
        assert_eq!(shares(&lines, 1), [(1, 1)]);
        assert_eq!(shares(&lines, 61), [(1, 60), (0, 1)]);
        assert_eq!(shares(&lines, 62), [(1, 61), (0, 1)]);
        assert_eq!(shares(&lines[..1], 5), [(0, 5)]);
        assert_eq!(shares(&lines[2..], 5), []);
        assert_eq!(shares(&lines, 0), []);
    }

    #[test]
    fn of_equals_the_longest_due_is_first() {
        let lines = [line(1, Some(7)), line(1, Some(3)), line(1, Some(5))];
        assert_eq!(shares(&lines, 1), [(1, 1)]);
        assert_eq!(shares(&lines, 2), [(1, 1), (2, 1)]);
        assert_eq!(shares(&lines, 4), [(1, 2), (2, 1), (0, 1)]);
    }

    #[test]
    fn of_equals_the_one_that_waited_longest_for_its_turn_is_first() {
        let served = |turn, due| Line { turn, ..line(0, Some(due)) };
        let lines = [served(9, 1), served(4, 7), served(8, 5)];
        assert_eq!(shares(&lines, 1), [(1, 1)]);
        assert_eq!(shares(&lines, 2), [(1, 1), (2, 1)]);
    }

    #[test]
    fn a_full_line_gets_no_slot() {
        let lines = [Line { free: 2, ..line(3, Some(1)) }, line(9, Some(2)), Line { free: 0, ..line(0, Some(3)) }];
        assert_eq!(shares(&lines, 1), [(0, 1)]);
        assert_eq!(shares(&lines, 9), [(0, 2), (1, 7)]);
        assert_eq!(shares(&lines[..1], 9), [(0, 2)]);
        assert_eq!(shares(&lines[2..], 9), []);
    }
}
