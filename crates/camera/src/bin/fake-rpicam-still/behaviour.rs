//! The ways in which a shot can go wrong.

use crate::Failure;

/// What one shot is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// As it should be.
    Well,
    /// After a second.
    Slow,
    /// The program ends before it has done anything.
    CrashAtStart,
    /// The program ends when asked for a shot.
    Crash,
    /// The program ends after the JPEG.
    CrashHalfway,
    /// Nothing happens any more.
    Hang,
    /// The DNG lacks its end.
    TruncatedDng,
    /// There is no DNG.
    NoDng,
    /// The JPEG lacks its end.
    TruncatedJpeg,
    /// The metadata is that of the shot before.
    StaleMetadata,
    /// The metadata is of another exposure than the files.
    OtherMetadata,
    /// The metadata lacks its values.
    EmptyMetadata,
    /// Half of the metadata, for ever.
    HalfMetadata,
    /// The mosaic begins with another colour.
    WrongBayerOrder,
    /// A frame of another size.
    WrongSize,
    /// Ten megabytes of complaints, then a good shot.
    Chatty,
}

impl Behaviour {
    const ALL: [(&str, Self); 16] = [
        ("well", Self::Well),
        ("slow", Self::Slow),
        ("crash-at-start", Self::CrashAtStart),
        ("crash", Self::Crash),
        ("crash-halfway", Self::CrashHalfway),
        ("hang", Self::Hang),
        ("truncated-dng", Self::TruncatedDng),
        ("no-dng", Self::NoDng),
        ("truncated-jpeg", Self::TruncatedJpeg),
        ("stale-metadata", Self::StaleMetadata),
        ("other-metadata", Self::OtherMetadata),
        ("empty-metadata", Self::EmptyMetadata),
        ("half-metadata", Self::HalfMetadata),
        ("wrong-bayer-order", Self::WrongBayerOrder),
        ("wrong-size", Self::WrongSize),
        ("chatty", Self::Chatty),
    ];

    pub(crate) fn of(word: &str) -> Result<Self, Failure> {
        let found = Self::ALL.into_iter().find(|(name, _)| *name == word.trim());
        found.map(|(_, behaviour)| behaviour).ok_or_else(|| format!("no behaviour is called {word}").into())
    }
}
