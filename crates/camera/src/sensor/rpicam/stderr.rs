//! What the camera program complains about.
//!
//! For: logging a program's standard error without letting it flood the log or the memory, and keeping
//! the last line for the error message.
//!
//! Not for: understanding it: messages differ from release to release.

use std::mem;

/// Bytes in, lines of bounded length and number out.
#[derive(Debug, Default)]
pub(super) struct StderrLog {
    line: Vec<u8>,
    last: Option<String>,
    /// Lines since the last shot began.
    lines: usize,
}

impl StderrLog {
    /// Takes what has been read, and logs what has become a line.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.end_line();
            } else if self.line.len() < MAX_LINE {
                self.line.push(*byte);
            }
        }
    }

    /// A new shot begins: it may say as much as the last.
    pub(super) fn begin_shot(&mut self) {
        let omitted = mem::take(&mut self.lines).saturating_sub(MAX_LINES);
        if omitted > 0 {
            tracing::debug!(omitted, "the camera program said more than is logged");
        }
    }

    /// The last thing that the program said, if it said anything.
    pub(super) fn last(&mut self) -> Option<String> {
        self.end_line();
        self.last.clone()
    }

    fn end_line(&mut self) {
        let line = printable(&mem::take(&mut self.line));
        if line.is_empty() {
            return;
        }
        self.lines = self.lines.saturating_add(1);
        if self.lines <= MAX_LINES {
            tracing::debug!(line, "the camera program says");
        }
        self.last = Some(line);
    }
}

/// Text that does a terminal no harm.
fn printable(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>().trim().to_owned()
}

/// Longest line that is kept.
const MAX_LINE: usize = 200;
/// Most lines of one shot that are logged.
const MAX_LINES: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_line_is_kept_whole_or_not() {
        let mut log = StderrLog::default();
        assert_eq!(log.last(), None);
        log.push(b"INFO Camera\nERROR: *** no cam");
        log.push(b"eras available ***\n\n  \n");
        assert_eq!(log.last().as_deref(), Some("ERROR: *** no cameras available ***"));
        log.push(b"half a l\x1b[31mine\xff");
        assert_eq!(log.last().as_deref(), Some("half a l [31mine\u{fffd}"));
    }

    #[test]
    fn floods_are_cut() {
        let mut log = StderrLog::default();
        for _ in 0..1000 {
            log.push(&[b'x'; 4096]);
        }
        assert_eq!(log.last().unwrap().len(), MAX_LINE);
        log.push(&b"y\n".repeat(100_000));
        assert_eq!(log.lines, 100_001);
        log.begin_shot();
        assert_eq!((log.lines, log.last().as_deref()), (0, Some("y")));
    }
}
