//! PEM of one or two certificates (RFC 7468), read strictly and bounded.
//!
//! Between the blocks there may be nothing but empty lines: a text that carries more than it says is
//! refused, not skimmed.

use birthmark_core::base64;

/// Longest text: two certificates of [`MAX_DER`] in base64, with room to spare.
pub(crate) const MAX_PEM: usize = 8 * 1024;

/// Longest certificate. Ours have 400 to 800 bytes.
pub(crate) const MAX_DER: usize = 2 * 1024;

/// Most certificates in a text: a device's and its CA's.
const MAX_BLOCKS: usize = 2;

/// Why a text is no PEM of certificates. Carries no part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// More than any chain of ours can have.
    #[error("longer than {MAX_PEM} characters")]
    TooLong,
    /// None, or more than two.
    #[error("neither one certificate nor two")]
    Count,
    /// Something else than `-----BEGIN CERTIFICATE-----`, base64, `-----END CERTIFICATE-----`.
    #[error("line {line} is not what a PEM certificate has there")]
    Line {
        /// 1-based.
        line: usize,
    },
    /// The lines between are not base64 of at most `MAX_DER` bytes.
    #[error("not base64 of a certificate of at most {MAX_DER} bytes")]
    Base64,
}

/// The certificates in DER, in the text's order: one or two.
pub(crate) fn decode(text: &str) -> Result<Vec<Vec<u8>>, PemError> {
    if text.len() > MAX_PEM {
        return Err(PemError::TooLong);
    }
    let mut certificates = Vec::new();
    let mut inside: Option<String> = None;
    let mut lines = 0;
    for (at, line) in text.lines().enumerate() {
        lines = at + 1;
        match (&mut inside, line) {
            (None, "") => {}
            (None, BEGIN) if certificates.len() == MAX_BLOCKS => return Err(PemError::Count),
            (None, BEGIN) => inside = Some(String::new()),
            (Some(content), END) => {
                let der = base64::decode_bounded(content, MAX_DER).map_err(|_| PemError::Base64)?;
                certificates.push(der);
                inside = None;
            }
            (Some(content), line) if !line.is_empty() && !line.starts_with('-') => content.push_str(line),
            _ => return Err(PemError::Line { line: lines }),
        }
    }
    if inside.is_some() {
        return Err(PemError::Line { line: lines });
    }
    if certificates.is_empty() { Err(PemError::Count) } else { Ok(certificates) }
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block(der: &[u8]) -> String {
        let lines: Vec<_> = base64::encode(der).into_bytes().chunks(64).map(<[u8]>::to_vec).collect();
        format!("{BEGIN}\n{}\n{END}\n", String::from_utf8(lines.join(&b'\n')).unwrap())
    }

    #[test]
    fn one_or_two_certificates_are_read_with_either_line_end() {
        let (first, second) = (vec![1; 700], vec![2; 3]);
        let text = format!("\n{}\n{}\n", block(&first), block(&second));
        assert_eq!(decode(&text).unwrap(), [first.clone(), second.clone()]);
        assert_eq!(decode(&text.replace('\n', "\r\n")).unwrap(), [first.clone(), second]);
        assert_eq!(decode(block(&first).trim_end()).unwrap(), [first]);
    }

    #[test]
    fn other_texts_are_refused() {
        let good = block(&[7; 100]);
        let line = |line| PemError::Line { line };
        for (bad, error) in [
            (String::new(), PemError::Count),
            ("\n\n".to_owned(), PemError::Count),
            (good.repeat(3), PemError::Count),
            (" ".repeat(MAX_PEM + 1), PemError::TooLong),
            (format!("subject=camera\n{good}"), line(1)),
            (format!("{good}trailing"), line(6)),
            (good.replace(END, ""), line(5)),
            (good.replace(BEGIN, "-----BEGIN PRIVATE KEY-----"), line(1)),
            (good.replace(END, "-----END PRIVATE KEY-----"), line(5)),
            (good.replace(BEGIN, &format!("{BEGIN}\n{BEGIN}")), line(2)),
            (good.replace(BEGIN, &format!("{BEGIN}\n")), line(2)),
            (good.replace(BEGIN, &format!(" {BEGIN}")), line(1)),
            (good.replace("BwcH", "BwcH "), PemError::Base64),
            (good.replace('=', ""), PemError::Base64),
            (block(&[7; MAX_DER + 1]), PemError::Base64),
        ] {
            assert_eq!(decode(&bad), Err(error), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(der in proptest::collection::vec(any::<u8>(), 1..MAX_DER)) {
            prop_assert_eq!(decode(&block(&der)).unwrap(), [der]);
        }

        #[test]
        fn no_text_panics(text in "(-----BEGIN CERTIFICATE-----|-----END CERTIFICATE-----|[A-Za-z=]{0,70}|\n|-){0,12}") {
            let _ = decode(&text);
        }
    }
}
