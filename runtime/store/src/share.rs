//! Shares the free slots of a worker among its routes: the route with the fewest running requests gets the next slot.
//!
//! So a route with a long backlog has all slots while it is alone. As soon as a request of another route waits, that
//! request gets the next free slot.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use postback_wire::time::Timestamp;

/// A route, with the number of its running requests and the due time of its first waiting request.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The number of running requests of this route.
    pub running: usize,
    /// The due time of the first waiting request of this route. `None`: no request of this route can be claimed.
    pub due: Option<Timestamp>,
}

/// Divides free slots among the routes in `lines`. Returns pairs: the index of a route in `lines`, and the number of
/// slots for that route. The pairs are in the order in which the routes should claim: the route with the smallest
/// number of running requests comes first. If two routes have equal numbers, the route whose first request has been due
/// longest comes first. The result assumes that each route has enough waiting requests for its slots.
pub(crate) fn shares(lines: &[Line], slots: usize) -> Vec<(usize, usize)> {
    let waiting = lines.iter().enumerate().filter_map(|(place, line)| Some((line.running, line.due?, place)));
    let order: Vec<_> = waiting.collect();
    let mut next: BinaryHeap<_> = order.iter().copied().map(Reverse).collect();
    let mut shares = vec![0_usize; lines.len()];
    if let [(.., place)] = order[..] {
        return vec![(place, slots)];
    }
    for _ in 0..slots {
        let Some(Reverse((running, due, place))) = next.pop() else { break };
        if let Some(share) = shares.get_mut(place) {
            *share += 1;
        }
        next.push(Reverse((running + 1, due, place)));
    }
    let mut order = order;
    order.sort_unstable();
    let given = order.into_iter().map(|(.., place)| (place, shares.get(place).copied().unwrap_or(0)));
    given.filter(|(_, share)| *share > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(running: usize, due: Option<i64>) -> Line {
        Line { running, due: due.map(Timestamp::from_micros) }
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
}
