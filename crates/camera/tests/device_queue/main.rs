//! From the shutter to the proof, through a real queue and a scripted aggregator over real HTTP.

#[cfg(test)]
mod aggregator;
#[cfg(test)]
mod capture;
#[cfg(test)]
mod field;
#[cfg(test)]
mod provision;
#[cfg(test)]
mod upload;
