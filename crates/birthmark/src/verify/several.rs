//! The answers of several servers about one file, each checked by itself and then against each other.
//!
//! For: a verifier who wants to know which of them fails, and whether the validators have told them different
//! histories. Not for: judging one answer (`verify`).
//!
//! One proof that holds is enough, whatever the others say. Two trees of one size, or a record within a log that is
//! proven to lack it, are both signed by a quorum and cannot both be: then nothing is proven.

use birthmark_core::checkpoint::parse_unverified;
use birthmark_core::merkle::TreeHash;
use birthmark_core::verify::Candidate;
use birthmark_service::client::HttpClient;
use futures::future::join_all;

use super::report::Outcome;
use super::source::{self, Found};
use super::{By, lineage, weigh};

/// What one server said, and what came of checking it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) server: String,
    pub(super) outcome: Outcome,
    /// The checkpoint under a proof that holds.
    tree: Option<(u64, TreeHash)>,
}

/// Answers that are signed by a quorum and cannot both be true.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Contradiction {
    /// Two histories.
    #[error(
        "{0} and {1} prove their answers by two different trees of {2} leaves: the validators have signed two histories"
    )]
    Trees(String, String, u64),
    /// A record, and its absence from the log that holds it.
    #[error("{0} proves a record, and {1} that the log in which it stands lacks it")]
    Record(String, String),
}

/// Asks all of them at once.
pub(super) async fn ask(candidates: &[Candidate], servers: &[HttpClient], by: By<'_>) -> Vec<Answer> {
    join_all(servers.iter().map(|server| async {
        let found = source::ask(candidates, server, by.1).await;
        let tree = found.as_ref().ok().and_then(tree_of);
        let outcome = match found.and_then(|found| weigh(candidates, found, by.0)) {
            Ok(outcome) => lineage::traced(outcome, Some(server), by).await,
            Err(unchecked) => Outcome::Unchecked(unchecked),
        };
        let holds = matches!(outcome, Outcome::Found(..) | Outcome::OtherFile { .. })
            || matches!(outcome, Outcome::NoRecord { absence: Some(_), .. });
        Answer { server: server.origin().to_owned(), outcome, tree: tree.filter(|_| holds) }
    }))
    .await
}

/// What all answers together come to, with the place of the one that says most.
pub(super) fn compare(answers: &[Answer]) -> Result<usize, Contradiction> {
    for (at, one) in answers.iter().enumerate() {
        for other in answers.iter().skip(at + 1) {
            contradict(one, other)?;
        }
    }
    let worth = |answer: &Answer| match answer.outcome.exit_code() {
        // Proven; registered without a voucher, before absence that is proven, before a server's word;
        0 => 5,
        1 => match &answer.outcome {
            Outcome::Found(..) | Outcome::OtherFile { .. } => 4,
            Outcome::NoRecord { absence: Some(_), .. } => 3,
            _ => 1,
        },
        // what claims to be proven and is not, before what could not be asked.
        2 => 2,
        _ => 0,
    };
    // Of equals the first.
    Ok((0..answers.len()).rev().max_by_key(|at| answers.get(*at).map(worth)).unwrap_or_default())
}

fn contradict(one: &Answer, other: &Answer) -> Result<(), Contradiction> {
    if let (Some((size, root)), Some((other_size, other_root))) = (one.tree, other.tree)
        && size == other_size
        && root != other_root
    {
        return Err(Contradiction::Trees(one.server.clone(), other.server.clone(), size));
    }
    for (has, lacks) in [(one, other), (other, one)] {
        // Each absence is of all of the file's hashes.
        if let (Outcome::Found(_, finding, _), Outcome::NoRecord { absence: Some(absence), .. }) =
            (&has.outcome, &lacks.outcome)
            && finding.tx_id.0 < absence.checkpoint_size
        {
            return Err(Contradiction::Record(has.server.clone(), lacks.server.clone()));
        }
    }
    Ok(())
}

fn tree_of(found: &Found) -> Option<(u64, TreeHash)> {
    let note = match found {
        Found::Proof(text) => birthmark_core::proof::ProofBundle::parse(text).ok()?.checkpoint,
        Found::NoRecord { absence, .. } => absence.as_ref()?.first()?.checkpoint.clone(),
    };
    let (_, checkpoint) = parse_unverified(&note).ok()?;
    Some((checkpoint.size, checkpoint.root))
}

#[cfg(test)]
mod tests {
    use birthmark_core::ImageHash;
    use birthmark_core::absence::Absence;
    use birthmark_core::ids::{Height, TxId};
    use birthmark_core::time::UnixSeconds;

    use super::*;
    use crate::verify::Unchecked;

    fn answer(server: &str, outcome: Outcome, tree: Option<(u64, u8)>) -> Answer {
        let tree = tree.map(|(size, root)| (size, TreeHash::from_bytes([root; 32])));
        Answer { server: server.to_owned(), outcome, tree }
    }

    fn absent(size: u64) -> Outcome {
        let absence = Absence {
            image_hash: ImageHash::of(b"x"),
            height: Height(1),
            checkpoint_size: size,
            checkpoint_time: UnixSeconds(60),
            cosigners: Vec::new(),
        };
        Outcome::NoRecord { candidates: Vec::new(), as_of: None, absence: Some(absence) }
    }

    fn claimed() -> Outcome {
        Outcome::NoRecord { candidates: Vec::new(), as_of: None, absence: None }
    }

    #[test]
    fn what_is_proven_counts_before_what_is_claimed_and_what_was_not_said() {
        let other = || Outcome::OtherFile { tx_id: TxId(1) };
        let unsaid = || Outcome::Unchecked(Unchecked::NoPolicy);
        let order = |answers: Vec<Outcome>| {
            let answers: Vec<_> = answers.into_iter().map(|outcome| answer("a", outcome, None)).collect();
            compare(&answers).unwrap()
        };
        assert_eq!(order(vec![unsaid(), claimed(), absent(5), other()]), 3);
        assert_eq!(order(vec![unsaid(), claimed(), absent(5)]), 2);
        assert_eq!(order(vec![unsaid(), claimed()]), 1);
        assert_eq!(order(vec![unsaid(), unsaid()]), 0);
        assert_eq!(order(vec![absent(5), absent(6)]), 0, "of equals the first");
    }

    #[test]
    fn two_trees_of_one_size_are_named_with_who_showed_them() {
        let answers = [
            answer("a", absent(5), Some((5, 1))),
            answer("b", absent(6), Some((6, 2))),
            answer("c", absent(5), Some((5, 3))),
        ];
        assert_eq!(compare(&answers), Err(Contradiction::Trees("a".to_owned(), "c".to_owned(), 5)));
        assert!(compare(&answers[..2]).is_ok());
    }
}
