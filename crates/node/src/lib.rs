//! A registry node: consensus, mempool, cosigning, read API.
