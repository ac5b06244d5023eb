//! From the shutter to the proof, through a real queue and a scripted aggregator over real HTTP.

#[cfg(test)]
mod aggregator;
#[cfg(test)]
mod authority;
#[cfg(test)]
mod capture;
#[cfg(test)]
mod fail_over;
#[cfg(test)]
mod field;
#[cfg(test)]
mod provision;
#[cfg(test)]
mod rekey;
#[cfg(test)]
#[cfg(feature = "tpm")]
mod tpm;
#[cfg(test)]
mod upload;
#[cfg(test)]
mod version_2;
/// The network and its keys, as the unit tests have them.
#[cfg(test)]
#[path = "../../src/device/testing.rs"]
mod world;
