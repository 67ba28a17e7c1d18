//! The control socket, as somebody sees it whose supervisor may be gone at any moment.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

/// No answer takes longer, but for one that never comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
pub struct Wire(BufReader<UnixStream>);

impl Wire {
    /// `None` while there is nobody.
    pub fn to(run: &Path) -> Option<Self> {
        let stream = UnixStream::connect(run.join("ctl.sock")).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        Some(Self(BufReader::new(stream)))
    }

    /// Says something, and waits for nothing.
    pub fn say(&mut self, request: &str) {
        // Whoever was killed does not hear it.
        let _ = self.0.get_mut().write_all(format!("{request}\n").as_bytes());
    }

    /// All replies up to the last one; `None` when it breaks off.
    pub fn answer(&mut self) -> Option<Vec<Value>> {
        let mut replies = Vec::new();
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let reply: Value = serde_json::from_str(&line).ok()?;
            let is_last = reply["is"] == "done" || reply["is"] == "error";
            replies.push(reply);
            if is_last {
                return Some(replies);
            }
        }
    }
}

/// Asks, and takes the whole answer; `None` when there is none.
pub fn ask(run: &Path, request: &str) -> Option<Vec<Value>> {
    let mut wire = Wire::to(run)?;
    wire.say(request);
    wire.answer()
}
