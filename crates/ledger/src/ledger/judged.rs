//! What blocks change that were judged and are not applied yet.
//!
//! For: computing that once, where a block is judged, built upon and applied. Not for: verdicts. Only changes of valid
//! blocks are remembered, and a proposal is judged whatever is remembered of it.
//!
//! A state is known by all that led to it since the ledger was opened, so that two are the same only if they are: what
//! a block calls itself or its parent is not asked.

use std::collections::VecDeque;
use std::sync::Arc;

use birthmark_core::hash::Digest;
use birthmark_core::ids::Height;
use parking_lot::Mutex;

use super::Head;
use crate::apply::Changes;

/// One state of the ledger, applied or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StateId(Digest);

impl StateId {
    /// Of what was on disk. It means something only within one opened ledger.
    pub(super) fn opened(head: &Head) -> Self {
        Self(Digest::of_parts(&[&head.height.0.to_be_bytes(), &head.digest, head.root.as_bytes()]))
    }

    /// Of the state after a block.
    pub(super) fn after(self, header: &[u8], payload: &[u8]) -> Self {
        let length = (header.len() as u64).to_be_bytes();
        Self(Digest::of_parts(&[self.0.as_bytes(), &length, header, payload]))
    }
}

/// The memory. It holds [`BLOCKS`] at most, and none that was overtaken.
#[derive(Debug)]
pub(super) struct Judged(Mutex<Memory>);

#[derive(Debug)]
struct Memory {
    applied: (Height, StateId),
    blocks: VecDeque<(StateId, Arc<Changes>)>,
}

impl Judged {
    pub(super) fn new(height: Height, state: StateId) -> Self {
        Self(Mutex::new(Memory { applied: (height, state), blocks: VecDeque::new() }))
    }

    /// The applied state of this height; none while another block is being applied.
    pub(super) fn state_at(&self, height: Height) -> Option<StateId> {
        let (applied, state) = self.0.lock().applied;
        (applied == height).then_some(state)
    }

    /// What leads to this state.
    pub(super) fn get(&self, after: &StateId) -> Option<Arc<Changes>> {
        let memory = self.0.lock();
        let mut known = memory.blocks.iter();
        known.find_map(|(state, changes)| (state == after).then(|| Arc::clone(changes)))
    }

    pub(super) fn keep(&self, after: StateId, changes: Arc<Changes>) {
        let mut memory = self.0.lock();
        if changes.height <= memory.applied.0 || memory.blocks.iter().any(|(state, _)| *state == after) {
            return;
        }
        if memory.blocks.len() == BLOCKS {
            memory.blocks.pop_front();
        }
        memory.blocks.push_back((after, changes));
    }

    /// The next block is on disk.
    pub(super) fn applied(&self, height: Height, header: &[u8], payload: &[u8]) {
        let mut memory = self.0.lock();
        memory.applied = (height, memory.applied.1.after(header, payload));
        memory.blocks.retain(|(_, changes)| changes.height > height);
    }
}

/// Blocks that are remembered: more than the engine has under way.
const BLOCKS: usize = 8;
