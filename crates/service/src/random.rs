//! The operating system's randomness, behind `rand_core`'s traits.
//!
//! For: the one place that asks the system for random bytes.
//! Not for: repeatable randomness; simulations and tests pass in a seeded generator.

use core::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};

/// The system's generator. It holds no state, so copies of it never repeat each other.
///
/// If the system cannot give random bytes, the process aborts: every caller is about to make a key or
/// a nonce, and a weak one cannot be taken back.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRng;

impl TryRng for OsRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        fill(dst);
        Ok(())
    }
}

impl TryCryptoRng for OsRng {}

fn fill(dst: &mut [u8]) {
    if let Err(error) = getrandom::fill(dst) {
        tracing::error!(%error, "the operating system gives no random bytes; aborting");
        // Not a panic: a panic in a handler is caught and the next request would try again with
        // whatever the half-filled buffer held.
        std::process::abort();
    }
}

#[cfg(test)]
mod tests {
    use rand_core::{CryptoRng, Rng};

    use super::*;

    fn thirty_two(rng: &mut impl CryptoRng) -> [u8; 32] {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        bytes
    }

    #[test]
    fn two_draws_differ_and_neither_is_zero() {
        let (a, b) = (thirty_two(&mut OsRng), thirty_two(&mut OsRng));
        assert_ne!(a, b);
        assert_ne!(a, [0; 32]);
        assert_ne!(OsRng.next_u64(), OsRng.next_u64());
    }
}
