//! Items that wait for the writer, in queues that take turns. Each origin and each route has a queue (`line` in the
//! code). Many items for one origin delay only the items of the same queue.
//!
//! The algorithm is deficit round robin (Shreedhar and Varghese, 1995): at each turn a queue may send out a number of
//! bytes, its credit. If the next item is larger than the credit, the queue keeps the credit for its next turn. Within
//! a queue the order is kept.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

/// The number of bytes that may come out of a queue in each turn, in addition to the bytes that the queue did not use
/// in earlier turns. With the default limits, a row counts as at least 4 KiB, so this number is enough for 16 small
/// rows.
const QUANTUM: usize = 64 << 10;
/// The limit of the bytes of a single queue, as a multiple of the bytes that are still free. A single queue can use 7/8
/// of all space. The rest is reserved for queues that get their first item later (Choudhury and Hahne, 1998).
const TIMES_THE_FREE_SPACE: usize = 7;
/// The largest number of unused buffers that an [`Intake`] keeps. The buffers come from queues that were removed. A new
/// queue uses one of these buffers and need not allocate memory.
const SPARE: usize = 64;

/// Items that wait in several queues, and marks. A mark is an item that comes out after all items that were in the
/// intake when the mark came in.
pub(crate) struct Intake<T> {
    /// The queues that have items, by the number of the queue. Invariant: no queue is empty, and the number of each
    /// queue is in `turns` once.
    lines: HashMap<u64, Line<T>>,
    /// The numbers of the queues in the order of their turns. The next item comes out of the first queue.
    turns: VecDeque<u64>,
    marks: VecDeque<Mark<T>>,
    /// The number of marks that have come out so far.
    marks_gone: u64,
    /// The number of waiting items that came in after the last mark. (A mark is an item that comes out after all items
    /// that came in before it.)
    unmarked: usize,
    spare: Vec<VecDeque<Waiting<T>>>,
}

struct Line<T> {
    waiting: VecDeque<Waiting<T>>,
    /// The size of all items that wait in this queue, in bytes.
    cost: usize,
    /// The number of bytes that may come out of this queue in its current turn.
    credit: usize,
}

struct Waiting<T> {
    item: T,
    cost: usize,
    /// The number of marks that had come in before this item, since the [`Intake`] was made.
    marks: u64,
}

/// An item that comes out after every item that came in before it.
struct Mark<T> {
    /// The item of the mark. `None`: [`Intake::take_out`] has removed the item.
    item: Option<T>,
    /// The number of waiting items that came in before this mark, but after the previous mark.
    before: usize,
}

impl<T> Intake<T> {
    pub(crate) fn new() -> Self {
        Self {
            lines: HashMap::new(),
            turns: VecDeque::new(),
            marks: VecDeque::new(),
            marks_gone: 0,
            unmarked: 0,
            spare: Vec::new(),
        }
    }

    /// Returns whether an item of `cost` bytes may be added to this queue, if `free` bytes remain free after that. An
    /// item may always be added to an empty queue.
    pub(crate) fn may_grow(&self, line: u64, cost: usize, free: usize) -> bool {
        let has = self.lines.get(&line).map_or(0, |line| line.cost);
        has == 0 || has.saturating_add(cost) <= free.saturating_mul(TIMES_THE_FREE_SPACE)
    }

    pub(crate) fn push(&mut self, line: u64, cost: usize, item: T) {
        let marks = self.marks_gone + self.marks.len() as u64;
        let line = match self.lines.entry(line) {
            Entry::Occupied(line) => line.into_mut(),
            Entry::Vacant(vacant) => {
                self.turns.push_back(line);
                let waiting = self.spare.pop().unwrap_or_default();
                vacant.insert(Line { waiting, cost: 0, credit: QUANTUM })
            }
        };
        line.cost += cost;
        line.waiting.push_back(Waiting { item, cost, marks });
        self.unmarked += 1;
    }

    /// Adds a mark: an item that comes out after all items that are in this [`Intake`] now.
    pub(crate) fn mark(&mut self, item: T) {
        let before = std::mem::take(&mut self.unmarked);
        self.marks.push_back(Mark { item: Some(item), before });
    }

    /// Returns the number of items and marks.
    pub(crate) fn len(&self) -> usize {
        self.unmarked + self.marks.iter().map(|mark| mark.before + 1).sum::<usize>()
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        while let Some(mark) = self.marks.pop_front_if(|mark| mark.before == 0) {
            self.marks_gone += 1;
            if mark.item.is_some() {
                return mark.item;
            }
        }
        loop {
            let key = *self.turns.front()?;
            let Entry::Occupied(mut entry) = self.lines.entry(key) else {
                // This code is never reached, because every number in `turns` has a queue. The code would skip a number
                // without a queue.
                self.turns.pop_front();
                continue;
            };
            let line = entry.get_mut();
            let credit = line.credit;
            let alone = self.turns.len() == 1;
            let Some(first) = line.waiting.pop_front_if(|first| alone || first.cost <= credit) else {
                line.credit += QUANTUM;
                self.turns.rotate_left(1);
                continue;
            };
            line.credit = credit.saturating_sub(first.cost);
            line.cost -= first.cost;
            if line.waiting.is_empty() {
                self.turns.pop_front();
                let Line { waiting, .. } = entry.remove();
                if self.spare.len() < SPARE {
                    self.spare.push(waiting);
                }
            }
            self.left(first.marks);
            return Some(first.item);
        }
    }

    /// Removes and returns all items for which `which` returns `true`.
    pub(crate) fn take_out(&mut self, mut which: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut out = Vec::new();
        let mut left = Vec::new();
        for line in self.lines.values_mut() {
            let mut waiting = Vec::from(std::mem::take(&mut line.waiting));
            for Waiting { item, cost, marks } in waiting.extract_if(.., |waiting| which(&waiting.item)) {
                line.cost -= cost;
                left.push(marks);
                out.push(item);
            }
            line.waiting = waiting.into();
        }
        for marks in left {
            self.left(marks);
        }
        self.lines.retain(|_, line| !line.waiting.is_empty());
        self.turns.retain(|key| self.lines.contains_key(key));
        out.extend(self.marks.iter_mut().filter_map(|mark| mark.item.take_if(|item| which(item))));
        out
    }

    /// Records that one item came out. `marks` is the number of marks that had come in before the item.
    fn left(&mut self, marks: u64) {
        let at = usize::try_from(marks - self.marks_gone).ok();
        let before = at.and_then(|at| self.marks.get_mut(at)).map_or(&mut self.unmarked, |mark| &mut mark.before);
        *before -= 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(intake: &mut Intake<u32>) -> Vec<u32> {
        std::iter::from_fn(|| intake.pop()).collect()
    }

    #[test]
    fn a_flood_delays_another_line_by_a_turn() {
        let mut intake = Intake::new();
        for number in 0..10_000 {
            intake.push(1, 1_000, number);
        }
        assert_eq!(intake.pop(), Some(0));
        intake.push(2, 1_000, 77_777);
        let at = all(&mut intake).iter().position(|item| *item == 77_777);
        assert!(at.is_some_and(|at| at <= QUANTUM / 1_000), "it waited for {at:?} others");
    }

    #[test]
    fn lines_get_the_same_in_bytes() {
        let mut intake = Intake::new();
        for _ in 0..100 {
            intake.push(1, 100_000, 1);
        }
        for _ in 0..10_000 {
            intake.push(2, 1_000, 2);
        }
        let first: Vec<u32> = (0..1_010).filter_map(|_| intake.pop()).collect();
        let large = first.iter().filter(|item| **item == 1).count();
        assert!((9..=11).contains(&large), "{large} large ones went beside {} small ones", first.len() - large);
    }

    #[test]
    fn one_line_keeps_its_order_and_leaves_room_for_others() {
        let mut intake = Intake::new();
        let (room, mut used) = (1_000, 0);
        while intake.may_grow(1, 1, room - used - 1) {
            intake.push(1, 1, u32::try_from(used).unwrap());
            used += 1;
        }
        assert_eq!(used, 875);
        // A queue that gets its first item later may use at least an eighth of the space that is free at that moment.
        while intake.may_grow(2, 1, room - used - 1) {
            intake.push(2, 1, 0);
            used += 1;
        }
        assert!((980..=990).contains(&used), "{used}");
        // An item may be added to an empty queue if any space is free.
        assert!(intake.may_grow(3, 900, 1));
        let first: Vec<u32> = all(&mut intake).into_iter().filter(|item| *item > 0).collect();
        assert!(first.is_sorted());
    }

    proptest! {
        /// Tests that no item is lost or doubled, that each queue keeps its order, and that a mark comes out
        /// immediately after all items that came in before it.
        #[test]
        fn marks_and_lines_hold(steps in prop::collection::vec((0_u8..10, 0_u64..4, 1_usize..40_000), 1..200)) {
            let mut intake = Intake::new();
            let mut waiting: Vec<(u32, Option<u64>)> = Vec::new();
            for (number, (what, line, cost)) in (0_u32..).zip(steps) {
                match what {
                    0..5 => {
                        intake.push(line, cost, number);
                        waiting.push((number, Some(line)));
                    }
                    5 => {
                        intake.mark(number);
                        waiting.push((number, None));
                    }
                    6 => {
                        let mut out = intake.take_out(|item| item % 3 == 0);
                        out.sort_unstable();
                        let gone: Vec<u32> =
                            waiting.extract_if(.., |(item, _)| *item % 3 == 0).map(|(item, _)| item).collect();
                        prop_assert_eq!(out, gone);
                    }
                    _ => {
                        let popped = intake.pop();
                        prop_assert_eq!(popped.is_none(), waiting.is_empty());
                        let Some(popped) = popped else { continue };
                        let at = waiting.iter().position(|(item, _)| *item == popped);
                        prop_assert!(at.is_some());
                        let (_, line) = waiting.remove(at.unwrap_or_default());
                        let before = &waiting[..at.unwrap_or_default()];
                        match line {
                            None => prop_assert!(before.is_empty()),
                            Some(_) => prop_assert!(before.iter().all(|(_, other)| *other != line)),
                        }
                        // If all items that came in before a mark are out, the mark comes out before all other items.
                        if line.is_some() {
                            prop_assert!(before.first().is_none_or(|(_, first)| first.is_some()));
                        }
                    }
                }
            }
            let mut left = all(&mut intake);
            left.sort_unstable();
            prop_assert_eq!(left, waiting.into_iter().map(|(item, _)| item).collect::<Vec<_>>());
        }
    }
}
