//! What a child says through the pipe between fork and exec: numbers, for it must not allocate.

use std::os::fd::BorrowedFd;

use rustix::io::{Errno, read};

/// Records kept of one child: there are 16 limits, at most 13 hierarchies, and a few single steps.
const MAX_RECORDS: usize = 64;
const RECORD_BYTES: usize = 8;

/// Whether a record ends the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Warning,
    Failure,
}

/// The steps between fork and exec that can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Session,
    Cgroup,
    Descriptors,
    OomScore,
    Nice,
    Ionice,
    Cpus,
    Limit,
    Capabilities,
    Groups,
    Group,
    User,
    Directory,
    NoNewPrivileges,
    Exec,
}

impl Stage {
    const ALL: [Self; 15] = [
        Self::Session,
        Self::Cgroup,
        Self::Descriptors,
        Self::OomScore,
        Self::Nice,
        Self::Ionice,
        Self::Cpus,
        Self::Limit,
        Self::Capabilities,
        Self::Groups,
        Self::Group,
        Self::User,
        Self::Directory,
        Self::NoNewPrivileges,
        Self::Exec,
    ];
}

/// One message of a child. `index` says which limit, descriptor, hierarchy or file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) level: Level,
    pub(super) stage: Stage,
    pub(super) index: u16,
    pub(super) errno: i32,
}

impl Record {
    pub(super) fn bytes(self) -> [u8; RECORD_BYTES] {
        let position = Stage::ALL.iter().position(|stage| *stage == self.stage);
        let stage = position.and_then(|stage| u8::try_from(stage).ok()).unwrap_or(u8::MAX);
        let [index_low, index_high] = self.index.to_le_bytes();
        let [e0, e1, e2, e3] = self.errno.to_le_bytes();
        [u8::from(self.level == Level::Failure), stage, index_low, index_high, e0, e1, e2, e3]
    }

    fn parse(bytes: [u8; RECORD_BYTES]) -> Option<Self> {
        let [level, stage, index_low, index_high, e0, e1, e2, e3] = bytes;
        Some(Self {
            level: if level == 0 { Level::Warning } else { Level::Failure },
            stage: *Stage::ALL.get(usize::from(stage))?,
            index: u16::from_le_bytes([index_low, index_high]),
            errno: i32::from_le_bytes([e0, e1, e2, e3]),
        })
    }
}

/// The records that have arrived.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) warnings: Vec<Record>,
}

impl Inbox {
    /// Reads what is there: `None` is "not yet", `Some(None)` the end without a failure.
    pub(super) fn fill(&mut self, pipe: BorrowedFd<'_>) -> Option<Option<Record>> {
        loop {
            let mut bytes = [0; RECORD_BYTES];
            match read(pipe, &mut bytes) {
                Ok(RECORD_BYTES) => match Record::parse(bytes) {
                    Some(record) if record.level == Level::Failure => return Some(Some(record)),
                    Some(record) if self.warnings.len() < MAX_RECORDS => self.warnings.push(record),
                    _ => {}
                },
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return None,
                // Records are written whole, so anything else is the end.
                Ok(_) | Err(_) => return Some(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_pipe() {
        for stage in Stage::ALL {
            for level in [Level::Warning, Level::Failure] {
                let record = Record { level, stage, index: 0x1234, errno: 113 };
                assert_eq!(Record::parse(record.bytes()), Some(record));
            }
        }
        assert_eq!(Record::parse([1, 200, 0, 0, 0, 0, 0, 0]), None);
    }
}
