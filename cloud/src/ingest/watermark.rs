//! Which numbers of a stream are stored: everything up to `through`, and some ranges above it.
//!
//! Pure bookkeeping, kept in the database beside the messages themselves and changed in the same transaction: that is
//! what makes a message that comes twice count once.

use serde::{Deserialize, Serialize};

/// Most ranges that are remembered above `through`. Further messages beyond a gap are refused; the relay keeps them
/// and sends them again.
const MAX_RANGES: usize = 64;

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// New: store it.
    Store,
    /// Stored before.
    Duplicate,
    /// New, but too far beyond a gap: it has to come again.
    Refuse,
}

/// The numbers of one stream that are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// Everything up to here is stored, or was given up by the relay.
    pub through: u64,
    /// Inclusive ranges above `through + 1` that are stored too, ascending, neither touching nor overlapping.
    pub ahead: Vec<(u64, u64)>,
}

impl Watermark {
    /// Whether numbers are missing below one that is stored.
    pub fn has_gap(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Takes note of a message with this number, from a relay that holds nothing below `floor`.
    pub fn note(&mut self, seq: u64, floor: u64) -> Verdict {
        // A relay cannot send what it does not hold, so a floor above the number itself is nonsense.
        self.raise(floor.min(seq).saturating_sub(1));
        if seq <= self.through {
            return Verdict::Duplicate;
        }
        let at = self.ahead.partition_point(|(_, end)| *end < seq);
        if self.ahead.get(at).is_some_and(|(start, _)| *start <= seq) {
            return Verdict::Duplicate;
        }
        let joins_before = at > 0 && self.ahead[at - 1].1 + 1 == seq;
        let joins_after = self.ahead.get(at).is_some_and(|(start, _)| seq + 1 == *start);
        match (joins_before, joins_after) {
            (true, true) => {
                self.ahead[at - 1].1 = self.ahead[at].1;
                self.ahead.remove(at);
            }
            (true, false) => self.ahead[at - 1].1 = seq,
            (false, true) => self.ahead[at].0 = seq,
            (false, false) if seq > self.through + 1 && self.ahead.len() >= MAX_RANGES => return Verdict::Refuse,
            (false, false) => self.ahead.insert(at, (seq, seq)),
        }
        self.settle();
        Verdict::Store
    }

    /// Everything up to `through` counts as done.
    fn raise(&mut self, through: u64) {
        if through > self.through {
            self.through = through;
            self.ahead.retain_mut(|(start, end)| {
                *start = (*start).max(through + 1);
                *start <= *end
            });
            self.settle();
        }
    }

    /// Takes in the first range where it follows `through` directly.
    fn settle(&mut self) {
        while let Some((start, end)) = self.ahead.first().copied() {
            if start > self.through + 1 {
                break;
            }
            self.through = self.through.max(end);
            self.ahead.remove(0);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn in_order_there_is_never_a_gap() {
        let mut mark = Watermark::default();
        for seq in 1..=100 {
            assert_eq!(mark.note(seq, 1), Verdict::Store);
            assert_eq!((mark.through, mark.has_gap()), (seq, false));
        }
        assert_eq!(mark.note(7, 1), Verdict::Duplicate);
    }

    #[test]
    fn a_gap_closes_when_the_missing_ones_come() {
        let mut mark = Watermark::default();
        for seq in [1, 2, 5, 6, 9] {
            assert_eq!(mark.note(seq, 1), Verdict::Store);
        }
        assert_eq!((mark.through, mark.ahead.clone()), (2, vec![(5, 6), (9, 9)]));
        assert_eq!(mark.note(5, 1), Verdict::Duplicate);
        assert_eq!(mark.note(4, 1), Verdict::Store);
        assert_eq!(mark.note(3, 1), Verdict::Store);
        assert_eq!((mark.through, mark.ahead.clone()), (6, vec![(9, 9)]));
        assert_eq!(mark.note(10, 9), Verdict::Store, "the relay gave 7 and 8 up");
        assert_eq!((mark.through, mark.has_gap()), (10, false));
    }

    #[test]
    fn far_beyond_many_gaps_is_refused_not_forgotten() {
        let mut mark = Watermark::default();
        for n in 1..=64 {
            assert_eq!(mark.note(n * 2 + 1, 1), Verdict::Store);
        }
        let before = mark.clone();
        assert_eq!(mark.note(1000, 1), Verdict::Refuse);
        assert_eq!(mark, before);
        assert_eq!(mark.note(1, 1), Verdict::Store, "what closes the gap is always welcome");
        assert_eq!(mark.note(u64::MAX - 1, u64::MAX), Verdict::Store);
        assert_eq!(mark.through, u64::MAX - 1);
    }

    proptest! {
        #[test]
        fn each_number_is_stored_once_and_through_never_lies(seqs in prop::collection::vec((1u64..60, 1u64..20), 1..200)) {
            let mut mark = Watermark::default();
            let mut stored = BTreeSet::new();
            let mut floor = 1;
            for (seq, lift) in seqs {
                floor = floor.max(lift.min(seq));
                match mark.note(seq, floor) {
                    Verdict::Store => prop_assert!(stored.insert(seq), "{seq} twice"),
                    Verdict::Duplicate => prop_assert!(stored.contains(&seq) || seq <= mark.through),
                    Verdict::Refuse => prop_assert!(mark.ahead.len() >= 64),
                }
                for number in floor..=mark.through {
                    prop_assert!(stored.contains(&number) || number < floor, "{number} claimed but not stored");
                }
                for window in mark.ahead.windows(2) {
                    prop_assert!(window[0].1 + 1 < window[1].0);
                }
            }
        }
    }
}
