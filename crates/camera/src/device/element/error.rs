//! What can be wrong with a secure element, and what to do about it.

use birthmark_core::base64::Base64Error;

/// Why keys were not kept or could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ElementError {
    /// No such kind.
    #[error("a secure element is `software` or `tpm`")]
    UnknownKind,
    /// The keys are in a TPM.
    #[error("the keys of this configuration are sealed in a TPM; use it with --secure-element tpm")]
    InTpm,
    /// The keys are in the file.
    #[error(
        "the keys of this configuration are in the file itself, not in a TPM; use it with --secure-element software, or have the camera provisioned anew with --secure-element tpm"
    )]
    InFile,
    /// This program knows no TPM.
    #[error(
        "the TPM at {tcti} cannot be used: this program was built without it; build it with `--features tpm` (Debian: libtss2-dev, pkg-config)"
    )]
    NotBuilt {
        /// Which one was wanted.
        tcti: String,
    },
    /// The sealed form is not what this program writes.
    #[error("the sealed keys in the configuration are not readable: {0}; have the camera provisioned anew")]
    Form(&'static str),
    /// A key that was handed out is no key.
    #[error("a key in the configuration: {0}")]
    Key(#[from] Base64Error),
    /// The counter's lock was not had, or its file is damaged.
    #[error(transparent)]
    Numbers(#[from] Box<crate::counter::CounterError>),
    /// The TPM.
    #[error(transparent)]
    Tpm(#[from] TpmError),
}

/// Why the TPM did not do it, each with its remedy.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// The address is none.
    #[error("`{0}` is no TCTI; examples: device:/dev/tpmrm0, swtpm:host=127.0.0.1,port=2321")]
    Tcti(String),
    /// Nobody answers there.
    #[error(
        "no TPM answers at {tcti} ({cause}); on a Raspberry Pi: `dtparam=spi=on` and `dtoverlay=tpm-slb9670` in config.txt, and this user in group `tss`"
    )]
    Absent {
        /// Where it was looked for.
        tcti: String,
        /// What the library said.
        cause: String,
    },
    /// It has not been started.
    #[error("the TPM has not been started since its reset; restart the machine, or run `tpm2_startup -c`")]
    NotStarted,
    /// Its self-test failed.
    #[error("the TPM is in failure mode; cut its power and start again, and replace it if that does not help")]
    Failure,
    /// Too many wrong passwords.
    #[error(
        "the TPM has locked itself after too many wrong passwords for keys of other programs; wait for its recovery time, or run `tpm2_dictionarylockout --clear-lockout`"
    )]
    LockedOut,
    /// Somebody has given the owner hierarchy a password.
    #[error(
        "the TPM's owner hierarchy has a password; this camera needs it empty: `tpm2_changeauth -c owner -p <password>`"
    )]
    OwnerPassword,
    /// The same chip with new seeds.
    #[error(
        "this TPM was cleared after the camera was provisioned, and the keys sealed in it are lost; have the authority provision the camera anew (`birthmark sma device reprovision`)"
    )]
    Cleared,
    /// Another chip.
    #[error(
        "the keys are sealed in another TPM than the one that answers; put the card back into its own camera, or have this one provisioned"
    )]
    Other,
    /// No slot for a key or session.
    #[error(
        "the TPM has no room for another key or session; other programs hold them: end those, or run `tpm2_flushcontext -t -l -s`, or restart the machine"
    )]
    Exhausted,
    /// No room for a counter.
    #[error(
        "the TPM's non-volatile memory is full; `tpm2_getcap handles-nv-index` lists what holds it, `tpm2_nvundefine` frees what nobody needs"
    )]
    NvFull,
    /// The counter was removed.
    #[error(
        "the token counter at NV index {index:#010x} of this TPM is gone; `birthmark camera provision` makes a new one above all numbers used"
    )]
    CounterGone {
        /// Where it was.
        index: u32,
    },
    /// There is no number left.
    #[error("every token number of the TPM's counter is used up")]
    CounterExhausted,
    /// The chip says that a blob is not its own, though the storage key is the right one.
    #[error("the sealed keys in the configuration are damaged; restore the file, or have the camera provisioned anew")]
    Damaged,
    /// Try again.
    #[error("the TPM is busy; try again")]
    Busy,
    /// Anything else.
    #[error("the TPM refused to {doing}: {cause}")]
    Refused {
        /// What it was asked for.
        doing: &'static str,
        /// Its response code in words.
        cause: String,
    },
}
