//! The system end to end: the real binary, real processes, real files.

#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod installation;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod layering;
#[cfg(test)]
mod submissions;
#[cfg(test)]
mod verify;
