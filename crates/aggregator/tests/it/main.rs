//! The aggregator over real HTTP, between an authority and a node that are told how to misbehave.

#[cfg(test)]
mod camera;
#[cfg(test)]
mod edits;
#[cfg(test)]
mod endorsed;
#[cfg(test)]
mod erasure;
#[cfg(test)]
mod failover;
#[cfg(test)]
mod intake;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod lookups;
#[cfg(test)]
mod node;
#[cfg(test)]
mod pipeline;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod script;
#[cfg(test)]
mod shared;
#[cfg(test)]
mod sma;
#[cfg(test)]
mod world;
