//! A validator that no longer knows how it has voted does not vote.

use std::path::Path;

use super::*;

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_validator_whose_votes_are_gone_or_old_does_not_start() {
    let installation = Installation::new();
    let [consensus, ledger] = ["consensus", "ledger"].map(|name| installation.path().join(name));
    let aside = TempDir::new().unwrap();
    let [old, current, log] = ["old", "current", "ledger"].map(|name| aside.path().join(name));
    let record = async |seed| {
        let node = installation.start().await;
        node.post(node.batch([raw("MFG", seed)]).encode()).await;
        node.end().await;
    };
    record(1).await;
    copy(&consensus, &old);
    record(2).await;

    std::fs::rename(&consensus, &current).unwrap();
    let refused = installation.try_start().await.err().unwrap();
    assert!(matches!(refused, NodeError::VotesLost(size) if size > 0), "{refused}");
    // A folder that was made for a disk which is not mounted says no more.
    std::fs::create_dir(&consensus).unwrap();
    std::fs::rename(&ledger, &log).unwrap();
    let refused = installation.try_start().await.err().unwrap();
    assert!(matches!(refused, NodeError::VotesLost(size) if size > 0), "{refused}");

    std::fs::remove_dir_all(&ledger).unwrap_or_default();
    std::fs::rename(&log, &ledger).unwrap();
    copy(&old, &consensus);
    let node = installation.start().await;
    let ended = node.node.run(CancellationToken::new()).await.unwrap_err().to_string();
    assert!(ended.contains("which the consensus folder does not hold"), "{ended}");
    drop(node);

    std::fs::remove_dir_all(&consensus).unwrap();
    std::fs::rename(&current, &consensus).unwrap();
    record(3).await;
}
