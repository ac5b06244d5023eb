//! Which validators have cosigned which tree.
//!
//! For: counting, and choosing a quorum's lines; pure. Not for: whether a line is right (`committee`
//! checks it first), or whether the tree is our own ledger's (whoever asks names the tree).
//!
//! A validator that is known to have signed two trees at one size counts for nothing any more. What is
//! kept of each is bounded, so the worst of them fills no more memory than the best.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use birthmark_core::merkle::TreeHash;
use birthmark_core::note::NoteSignature;
use birthmark_core::time::UnixSeconds;

/// The statements of all validators, each by its place in the epoch.
#[derive(Debug)]
pub(crate) struct Collector {
    quorum: usize,
    members: Vec<Member>,
    /// Smaller trees are of no interest.
    floor: u64,
}

#[derive(Debug, Default)]
struct Member {
    said: BTreeMap<u64, Said>,
    equivocated: bool,
}

#[derive(Debug)]
struct Said {
    root: TreeHash,
    time: UnixSeconds,
    line: NoteSignature,
}

/// What a statement was worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It is kept.
    News,
    /// Nothing: old, known, or by somebody who counts for nothing.
    Nothing,
    /// The validator has signed another tree of this size before.
    Equivocation,
}

impl Collector {
    /// For so many validators.
    pub(crate) fn new(validators: usize, quorum: usize) -> Self {
        Self { quorum, members: (0..validators).map(|_| Member::default()).collect(), floor: 0 }
    }

    /// Whether it is worth checking a statement's signature.
    pub(crate) fn is_news(&self, place: usize, (size, root): (u64, TreeHash), time: UnixSeconds) -> bool {
        let Some(member) = self.members.get(place).filter(|member| !member.equivocated) else { return false };
        if size < self.floor {
            return false;
        }
        match member.said.get(&size) {
            Some(said) => said.root != root || said.time < time,
            None => {
                member.said.len() < MAX_SAID || member.said.first_key_value().is_some_and(|(least, _)| size > *least)
            }
        }
    }

    /// Keeps a statement whose signature holds.
    pub(crate) fn insert(
        &mut self,
        place: usize,
        (size, root): (u64, TreeHash),
        time: UnixSeconds,
        line: NoteSignature,
    ) -> Heard {
        if !self.is_news(place, (size, root), time) {
            return Heard::Nothing;
        }
        let Some(member) = self.members.get_mut(place) else { return Heard::Nothing };
        if member.said.get(&size).is_some_and(|said| said.root != root) {
            *member = Member { said: BTreeMap::new(), equivocated: true };
            return Heard::Equivocation;
        }
        member.said.insert(size, Said { root, time, line });
        // The largest stay: they are what this node catches up to.
        if member.said.len() > MAX_SAID {
            member.said.pop_first();
        }
        Heard::News
    }

    /// Exactly a quorum of lines for this tree, the freshest there are, and the least of their times.
    pub(crate) fn quorum(&self, (size, root): (u64, TreeHash)) -> Option<(UnixSeconds, Vec<NoteSignature>)> {
        let said = self.members.iter().filter_map(|member| member.said.get(&size));
        let mut said: Vec<_> = said.filter(|said| said.root == root).collect();
        said.sort_by_key(|said| (Reverse(said.time), said.line.name()));
        let chosen = said.get(..self.quorum)?;
        let time = chosen.last()?.time;
        Some((time, chosen.iter().map(|said| said.line.clone()).collect()))
    }

    /// Who has signed another tree of this size.
    pub(crate) fn others(&self, (size, root): (u64, TreeHash)) -> impl Iterator<Item = usize> {
        let said = self.members.iter().map(move |member| member.said.get(&size)).enumerate();
        said.filter(move |(_, said)| said.is_some_and(|said| said.root != root)).map(|(place, _)| place)
    }

    /// Lets go of trees smaller than `floor`.
    pub(crate) fn forget_below(&mut self, floor: u64) {
        self.floor = self.floor.max(floor);
        for member in &mut self.members {
            member.said = member.said.split_off(&self.floor);
        }
    }
}

/// Trees of one validator that may wait to be ours too. A validator that lags by more catches up first.
const MAX_SAID: usize = 64;

#[cfg(test)]
mod tests {
    use birthmark_core::note::KeyName;

    use super::*;

    const TREE: (u64, TreeHash) = (10, TreeHash::from_bytes([1; 32]));
    const OTHER: (u64, TreeHash) = (10, TreeHash::from_bytes([2; 32]));

    fn line(place: usize) -> NoteSignature {
        NoteSignature::new(KeyName::new(format!("v{place}")).unwrap(), 1, vec![1])
    }

    fn say(collector: &mut Collector, place: usize, tree: (u64, TreeHash), time: u64) -> Heard {
        collector.insert(place, tree, UnixSeconds(time), line(place))
    }

    fn names((time, lines): (UnixSeconds, Vec<NoteSignature>)) -> (u64, Vec<String>) {
        (time.0, lines.iter().map(|line| line.name().to_string()).collect())
    }

    #[test]
    fn exactly_a_quorum_of_the_freshest_is_chosen() {
        let mut collector = Collector::new(4, 3);
        assert_eq!(say(&mut collector, 0, TREE, 60), Heard::News);
        assert_eq!(say(&mut collector, 1, TREE, 60), Heard::News);
        assert_eq!(collector.quorum(TREE), None);
        say(&mut collector, 3, TREE, 120);
        assert_eq!(names(collector.quorum(TREE).unwrap()), (60, vec!["v3".into(), "v0".into(), "v1".into()]));
        say(&mut collector, 2, TREE, 120);
        say(&mut collector, 1, TREE, 180);
        assert_eq!(names(collector.quorum(TREE).unwrap()), (120, vec!["v1".into(), "v2".into(), "v3".into()]));
        assert_eq!(say(&mut collector, 1, TREE, 60), Heard::Nothing, "an older time does not replace a newer one");
    }

    #[test]
    fn who_signs_two_trees_of_one_size_counts_for_nothing_any_more() {
        let mut collector = Collector::new(4, 3);
        for place in 0..3 {
            say(&mut collector, place, TREE, 60);
        }
        assert!(collector.quorum(TREE).is_some());
        assert_eq!(say(&mut collector, 2, OTHER, 60), Heard::Equivocation);
        assert_eq!(collector.quorum(TREE), None);
        assert_eq!(say(&mut collector, 2, TREE, 120), Heard::Nothing);
        assert_eq!(say(&mut collector, 3, TREE, 60), Heard::News);
        assert!(collector.quorum(TREE).is_some(), "three honest ones remain");
    }

    #[test]
    fn another_tree_is_not_counted_and_its_signers_are_named() {
        let mut collector = Collector::new(4, 3);
        for place in 0..2 {
            say(&mut collector, place, TREE, 60);
        }
        for place in 2..4 {
            say(&mut collector, place, OTHER, 60);
        }
        assert_eq!((collector.quorum(TREE), collector.quorum(OTHER)), (None, None));
        assert_eq!(collector.others(TREE).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn memory_is_bounded_and_the_largest_trees_stay() {
        let mut collector = Collector::new(2, 2);
        for size in 1..=1_000 {
            assert_eq!(say(&mut collector, 1, (size, TREE.1), 60), Heard::News);
        }
        assert_eq!(collector.members[1].said.len(), MAX_SAID);
        assert!(!collector.is_news(1, (1, TREE.1), UnixSeconds(60)), "smaller than all that is kept");
        say(&mut collector, 0, (1_000, TREE.1), 60);
        assert!(collector.quorum((1_000, TREE.1)).is_some());
    }

    #[test]
    fn what_is_below_the_published_tree_goes_and_does_not_come_back() {
        let mut collector = Collector::new(2, 2);
        say(&mut collector, 0, TREE, 60);
        say(&mut collector, 0, (11, TREE.1), 60);
        collector.forget_below(11);
        assert_eq!(say(&mut collector, 0, TREE, 120), Heard::Nothing);
        assert_eq!(say(&mut collector, 1, (11, TREE.1), 120), Heard::News);
        assert!(collector.quorum((11, TREE.1)).is_some());
        assert_eq!(say(&mut collector, 7, TREE, 120), Heard::Nothing, "nobody has this place");
    }
}
