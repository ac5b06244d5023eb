//! The registry's nodes, any of which will do.
//!
//! For: staying with the one that answered last, and going on to the next when it fails. Not for: when to
//! try again after all have failed (`pipeline/gate`).
//!
//! One node serves posts and look-ups alike, so that what it has recorded is found where it is asked about.

use std::sync::atomic::{AtomicUsize, Ordering};

use birthmark_service::client::HttpClient;

/// All of them, and which is in use.
#[derive(Debug)]
pub(crate) struct Nodes {
    nodes: Vec<Node>,
    current: AtomicUsize,
}

/// The clients of one node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Where it is, for the log.
    pub(crate) url: String,
    /// Its time limit must exceed [`super::RECORD_WAIT_SECONDS`].
    pub(crate) posting: HttpClient,
    /// Its answers are at most [`super::MAX_VERIFY`] bytes.
    pub(crate) reading: HttpClient,
    /// For answers of up to [`birthmark_core::prefix::MAX_PAGE_LEN`] bytes.
    pub(crate) paging: HttpClient,
}

impl Nodes {
    /// The first is asked first.
    pub(crate) const fn new(nodes: Vec<Node>) -> Self {
        Self { nodes, current: AtomicUsize::new(0) }
    }

    /// All of them once, beginning with the one in use; each with its place.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = (usize, &Node)> {
        let (from, count) = (self.current.load(Ordering::Relaxed), self.nodes.len());
        let places = (from..from + count).filter_map(move |place| place.checked_rem(count));
        places.filter_map(|place| Some((place, self.nodes.get(place)?)))
    }

    /// This one has answered: it is asked first from now on.
    pub(crate) fn stay_with(&self, place: usize) {
        let before = self.current.swap(place, Ordering::Relaxed);
        if before != place
            && let Some(node) = self.nodes.get(place)
        {
            tracing::info!(node = node.url, "this registry node is used now");
        }
    }

    /// This one answers, but what it takes is not recorded: another is asked first from now on.
    pub(crate) fn leave(&self, place: usize) {
        let next = (place + 1).checked_rem(self.nodes.len()).unwrap_or(0);
        // Only if nobody has left it meanwhile.
        let _ = self.current.compare_exchange(place, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use birthmark_service::client::ClientOptions;

    use super::*;

    fn three() -> Nodes {
        let client = |url: &str| HttpClient::new(url, &ClientOptions::default()).unwrap();
        let node =
            |url: &str| Node { url: url.to_owned(), posting: client(url), reading: client(url), paging: client(url) };
        Nodes::new(["http://a", "http://b", "http://c"].map(node).to_vec())
    }

    fn order(nodes: &Nodes) -> Vec<usize> {
        nodes.in_turn().map(|(place, _)| place).collect()
    }

    #[test]
    fn all_are_asked_once_beginning_with_the_one_that_answered_last() {
        let nodes = three();
        assert_eq!(order(&nodes), [0, 1, 2]);
        nodes.stay_with(2);
        assert_eq!(order(&nodes), [2, 0, 1]);
        nodes.leave(2);
        assert_eq!(order(&nodes), [0, 1, 2]);
        nodes.leave(2);
        assert_eq!(order(&nodes), [0, 1, 2], "it was left already");
    }
}
