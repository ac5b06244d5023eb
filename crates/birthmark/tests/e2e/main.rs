//! The system end to end: the real binary, real processes, real files.

#[cfg(test)]
mod bad_input;
mod bench;
#[cfg(test)]
mod camera;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod core_dump;
#[cfg(test)]
mod daemon;
#[cfg(test)]
mod demo;
#[cfg(test)]
mod edit;
#[cfg(test)]
mod enroll;
#[cfg(test)]
mod field;
#[cfg(test)]
mod fsck;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod garbage;
#[cfg(test)]
mod governance;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod independent;
#[cfg(test)]
mod installation;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod layering;
#[cfg(test)]
mod life;
#[cfg(test)]
mod load;
#[cfg(test)]
mod once;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod operator;
#[cfg(test)]
mod packaging;
#[cfg(test)]
mod power_cut;
#[cfg(test)]
mod privacy;
#[cfg(test)]
mod queue;
#[cfg(test)]
mod sma;
#[cfg(test)]
mod submissions;
/// The real TPM of the camera's own tests.
#[cfg(test)]
#[cfg(feature = "tpm")]
#[path = "../../../camera/tests/device_queue/tpm/swtpm.rs"]
mod swtpm;
#[cfg(test)]
#[cfg(feature = "tpm")]
mod tpm;
#[cfg(test)]
mod validators;
#[cfg(test)]
mod verify;
#[cfg(test)]
mod witness;
