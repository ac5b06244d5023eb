//! Large answers that take a place for as long as they are in memory.
//!
//! For: bounding how many are there at one time, also while clients read them slowly. Not for: how many that is
//! (whoever has the places).

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use tokio::sync::OwnedSemaphorePermit;

/// A body whose place is free again once all of it has been handed to the connection, which takes some 400 KiB ahead
/// of its client, or the connection has ended.
pub fn body(bytes: Bytes, place: OwnedSemaphorePermit) -> Body {
    Body::from_stream(stream::unfold((bytes, place), async |(mut rest, place)| {
        let piece = rest.split_to(rest.len().min(PIECE));
        (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), (rest, place)))
    }))
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
}
