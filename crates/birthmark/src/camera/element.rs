//! Where the camera's keys are, as flags.
//!
//! For: every command that uses keys. Not for: what a secure element does (`birthmark_camera::device`).

use birthmark_camera::device::{ElementChoice, ElementKind};

/// Flags of the secure element.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ElementArgs {
    /// Where the camera's keys are. Without it, where the configuration says; for a new camera, in software.
    #[arg(long, env = "BIRTHMARK_SECURE_ELEMENT", value_enum, value_name = "KIND")]
    secure_element: Option<Element>,
    /// How to reach the TPM, as tpm2-tss writes it. Without it, `device:/dev/tpmrm0`.
    #[arg(long, env = "BIRTHMARK_TCTI", value_name = "TCTI")]
    tcti: Option<String>,
}

/// A kind of secure element, on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Element {
    /// A file that nobody else may read.
    Software,
    /// A TPM 2.0.
    Tpm,
}

impl ElementArgs {
    pub(crate) fn choice(&self) -> ElementChoice {
        let kind = self.secure_element.map(|element| match element {
            Element::Software => ElementKind::Software,
            Element::Tpm => ElementKind::Tpm,
        });
        ElementChoice { kind, tcti: self.tcti.clone() }
    }
}
