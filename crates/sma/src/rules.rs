//! The verdict on a token: the rules, in one place and without a database.
//!
//! For: judging questions over what a store has loaded, and saying what must be written for them.
//! Not for: opening tokens (`validation`), loading and writing (`store`), or signing: what passes with
//! [`Verdict::PassedToSign`] is signed by the caller, after it was written.
//!
//! Rules: `docs/PROTOCOL.md` sections 3 and 5.
//!
//! Questions of one batch see each other's effects. Whatever is wrong with a token, the same steps are
//! made: device, MAC, earlier use. So neither an answer nor its delay tells an unknown camera from a
//! revoked one or from a forgery. Where several things are wrong, the first of invalid, used, stale and
//! rekey is told.

mod state;

use std::sync::Arc;

use birthmark_core::api::validate::Message;
use birthmark_core::ids::TableId;
use birthmark_core::network::EndorsementKeyId;
use birthmark_core::time::Minute;
use birthmark_core::token::v2::OpenedToken;

use crate::counters::{Counter, CounterDigest, CounterUse, Slot, UsedCounter};
use crate::devices::{Standing, Status, TokenVersion};
use crate::keys::{KeyGeneration, Keys, NucDigest};
use crate::quota::Quota;
use crate::replay::{Day, FirstUse, PriorUse, RepeatDigest, UseId};

pub(crate) use state::{Loaded, Pass, SigningKey, Used, last_of_each_device, last_of_each_slot, tokens};

/// A question after the cryptography, ready for the rules.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Of the fingerprint inside, or one that no camera has.
    pub(crate) nuc_digest: NucDigest,
    pub(crate) token: PreparedToken,
}

/// The token by the way it was sealed.
#[derive(Debug)]
pub(crate) enum PreparedToken {
    /// Without binding: version 1, or of a length that no version has.
    One {
        /// The table whose key opened it; `None` if nothing did.
        opened: Option<TableId>,
        use_id: UseId,
        repeat: Option<RepeatDigest>,
    },
    /// Version 2, which always asks for a signature.
    Two(Box<PreparedToken2>),
}

/// A version 2 token.
#[derive(Debug)]
pub(crate) struct PreparedToken2 {
    pub(crate) table: TableId,
    /// None if it did not open.
    pub(crate) opened: Option<OpenedToken>,
    pub(crate) digest: CounterDigest,
    pub(crate) key_id: EndorsementKeyId,
}

/// What the caller is told, or has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Failed(Message),
    /// Version 1.
    Passed,
    /// Version 2: the blinded message is to be signed with the key that it names.
    PassedToSign,
}

/// What the authority accepts, whatever the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) accept_version_1: bool,
    pub(crate) quota: Quota,
}

/// Everything that a verdict depends on besides the database and the time.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) keys: Arc<Keys>,
    pub(crate) policy: Policy,
}

impl PreparedToken2 {
    /// Where its counter would be remembered.
    pub(crate) fn slot(&self) -> Slot {
        let counter = self.opened.as_ref().and_then(|opened| Counter::new(opened.counter));
        counter.map_or(Slot::NONE, Counter::slot)
    }
}

impl Rules {
    /// Judges questions in their order, each in view of the passes before it, which are added to `passes`.
    pub(crate) fn judge(
        &self,
        questions: &[Prepared],
        now: Minute,
        loaded: &mut Loaded,
        passes: &mut Vec<Pass>,
    ) -> Vec<Verdict> {
        let mut judge_one = |question: &Prepared| {
            let (verdict, used) = match &question.token {
                PreparedToken::One { opened, use_id, repeat } => {
                    self.judge_1(*opened, *use_id, repeat.as_ref(), &question.nuc_digest, now, loaded)
                }
                PreparedToken::Two(token) => self.judge_2(token, &question.nuc_digest, now, loaded),
            };
            let pass = used.and_then(|used| Some(self.pass(loaded.device(&question.nuc_digest)?, used, now)));
            if let Some(pass) = pass {
                loaded.apply(&question.nuc_digest, &pass);
                passes.push(pass);
            }
            verdict
        };
        questions.iter().map(&mut judge_one).collect()
    }

    /// The verdict, and what is used up by it.
    fn judge_1(
        &self,
        opened: Option<TableId>,
        use_id: UseId,
        repeat: Option<&RepeatDigest>,
        nuc_digest: &NucDigest,
        now: Minute,
        loaded: &Loaded,
    ) -> (Verdict, Option<Used>) {
        let device = loaded.device(nuc_digest);
        let prior = PriorUse::of(loaded.first_use(use_id), repeat);
        let verdict = self.version_1(opened, device, prior, now);
        let is_new = verdict == Verdict::Passed && prior == PriorUse::None;
        (verdict, is_new.then_some(Used::Token { id: use_id, first: FirstUse(repeat.copied()), day: Day::of(now) }))
    }

    fn judge_2(
        &self,
        token: &PreparedToken2,
        nuc_digest: &NucDigest,
        now: Minute,
        loaded: &Loaded,
    ) -> (Verdict, Option<Used>) {
        let device = loaded.device(nuc_digest);
        let genuine = self.is_genuine(token.opened.as_ref(), device, nuc_digest);
        let counter = token.opened.as_ref().and_then(|opened| Counter::new(opened.counter));
        let slot = loaded.slot(device.map(|device| device.id), token.slot());
        let may_sign = loaded.may_sign(token.key_id, now);
        let (Some(device), Some(counter), true) = (device, counter, genuine) else {
            return (Verdict::Failed(Message::Invalid), None);
        };
        let prior = device.highest.judge(counter, token.digest, slot);
        let verdict = self.version_2(token.table, device, prior, may_sign, now);
        let is_new = verdict == Verdict::PassedToSign && prior == CounterUse::New;
        (verdict, is_new.then_some(Used::Counter(UsedCounter { counter, digest: token.digest })))
    }

    /// A pass of this device, counted.
    fn pass(&self, device: &Standing, used: Used, now: Minute) -> Pass {
        let tally = device.tally.on(Day::of(now)).plus_one();
        let highest = match &used {
            Used::Counter(used) => device.highest.with(used.counter),
            Used::Token { .. } => device.highest,
        };
        let notice = self.policy.quota.of_device(device.quota).notice(tally.count);
        Pass { device: device.id, tally, highest, used, notice }
    }

    fn version_1(&self, opened: Option<TableId>, device: Option<&Standing>, prior: PriorUse, now: Minute) -> Verdict {
        let Some(table) = opened else { return Verdict::Failed(Message::Invalid) };
        let may_pass = self.policy.accept_version_1
            && device.is_some_and(|device| {
                is_in_order(device, table)
                    && device.min_token_version == TokenVersion::One
                    && !self.is_over(device, now)
            });
        match (prior, may_pass) {
            // The first verdict again, even if the device was revoked since: that pass was given already.
            (PriorUse::SameQuestion, _) | (PriorUse::None, true) => Verdict::Passed,
            (PriorUse::Another, true) => Verdict::Failed(Message::Used),
            (PriorUse::None | PriorUse::Another, false) => Verdict::Failed(Message::Invalid),
        }
    }

    fn version_2(&self, table: TableId, device: &Standing, prior: CounterUse, may_sign: bool, now: Minute) -> Verdict {
        // The same token again is no further use, so no quota stops it; but unlike in version 1 something
        // is made for it each time, and for a revoked device nothing is made any more.
        let may_pass = is_in_order(device, table) && (prior == CounterUse::SameToken || !self.is_over(device, now));
        match (prior, may_pass, may_sign) {
            (_, false, _) => Verdict::Failed(Message::Invalid),
            (CounterUse::Another, true, _) => Verdict::Failed(Message::Used),
            (CounterUse::Stale, true, _) => Verdict::Failed(Message::Stale),
            // The counter stays free: the camera seals anew for another key.
            (CounterUse::New | CounterUse::SameToken, true, false) => Verdict::Failed(Message::Rekey),
            (CounterUse::New | CounterUse::SameToken, true, true) => Verdict::PassedToSign,
        }
    }

    /// Whether the token's MAC is the device's. Computed also where there is no device or nothing opened.
    fn is_genuine(&self, opened: Option<&OpenedToken>, device: Option<&Standing>, digest: &NucDigest) -> bool {
        let generation = device.map_or_else(KeyGeneration::default, |device| device.generation);
        let key = self.keys.device_key(generation, *digest);
        if let Some(opened) = opened {
            opened.is_from(&key) && device.is_some()
        } else {
            // As many bytes as the MAC covers.
            std::hint::black_box(self.keys.counter_digest(&[key.expose(), &[0; 102]]));
            false
        }
    }

    fn is_over(&self, device: &Standing, now: Minute) -> bool {
        let quota = self.policy.quota.of_device(device.quota);
        device.tally.on(Day::of(now)).count >= quota.stop
    }
}

/// Whether the device may pass with a token of this table.
fn is_in_order(device: &Standing, table: TableId) -> bool {
    device.status == Status::Active && device.tables.contains(table)
}

#[cfg(test)]
mod tests;
