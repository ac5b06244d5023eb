//! A camera program that behaves, and one that does not: the real supervisor, a real child process.

#[cfg(test)]
mod capture;
#[cfg(test)]
mod enrol;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod life;
#[cfg(test)]
mod shots;
