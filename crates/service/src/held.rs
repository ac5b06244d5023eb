//! Large answers that take a place for as long as they are in memory.
//!
//! For: bounding how many are there at one time, also while clients read them slowly. Not for: how slowly a client may
//! read (`server`).

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use parking_lot::Mutex;

use crate::rate_limit::Client;

/// A body whose place is free again once all of it has been handed to the connection, or the connection has ended. The
/// connection holds what it has taken ahead of its client: some 400 KiB, and what the system buffers besides.
pub fn body(bytes: Bytes, place: impl Send + 'static) -> Body {
    Body::from_stream(stream::unfold((bytes, place), async |(mut rest, place)| {
        let piece = rest.split_to(rest.len().min(PIECE));
        (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), (rest, place)))
    }))
}

/// Places of which no client has more than a few.
#[derive(Debug)]
pub struct Places {
    taken: Mutex<HashMap<Client, usize>>,
    all: usize,
    each: usize,
}

/// One of them, given back when it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    client: Client,
}

impl Places {
    /// So many in all, and so many of them for each client.
    pub fn new(all: usize, each: usize) -> Arc<Self> {
        Arc::new(Self { taken: Mutex::default(), all, each })
    }

    /// A place, if one is left for this client.
    pub fn take(self: &Arc<Self>, client: Client) -> Option<Place> {
        let mut taken = self.taken.lock();
        let own = taken.get(&client).copied().unwrap_or(0);
        if own >= self.each || taken.values().sum::<usize>() >= self.all {
            return None;
        }
        taken.insert(client.clone(), own + 1);
        Some(Place { places: Arc::clone(self), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        match taken.get_mut(&self.client) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                taken.remove(&self.client);
            }
        }
    }
}

const PIECE: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::StreamExt as _;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn place_is_kept_until_the_last_piece_was_taken() {
        let places = Arc::new(Semaphore::new(1));
        let bytes = Bytes::from(vec![7; 2 * PIECE + 1]);
        let mut pieces = body(bytes.clone(), Arc::clone(&places).try_acquire_owned().unwrap()).into_data_stream();
        let mut all = Vec::new();
        while all.len() < bytes.len() {
            assert_eq!(places.available_permits(), 0);
            all.extend(pieces.next().await.unwrap().unwrap());
        }
        assert!(pieces.next().await.is_none());
        drop(pieces);
        assert_eq!((all, places.available_permits()), (bytes.to_vec(), 1));
        drop(body(bytes, Arc::clone(&places).try_acquire_owned().unwrap()));
        assert_eq!(places.available_permits(), 1, "its connection has ended");
    }
    #[test]
    fn no_client_takes_the_places_of_others() {
        let client = |number: u8| Client::Address([10, 0, 0, number].into());
        let places = Places::new(3, 2);
        let first = places.take(client(1)).unwrap();
        let _second = places.take(client(1)).unwrap();
        assert!(places.take(client(1)).is_none());
        let _other = places.take(client(2)).unwrap();
        assert!(places.take(client(3)).is_none(), "all are taken");
        drop(first);
        assert!(places.take(client(3)).is_some());
        assert!(places.take(client(1)).is_some(), "its place and that of the third are free again");
    }
}
