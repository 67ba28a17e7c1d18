//! What a ready descriptor means: the number that epoll gives back, and the words for it.

use crate::machine::UnitId;

/// Who a descriptor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// A signal came.
    Signals,
    /// The supervisor's own log can be written on.
    Journal,
    /// A client knocks.
    Control,
    /// A client knocks that may only ask.
    Queries,
    /// A client has spoken, or can be spoken to.
    Client(u32),
    /// A watched file may have changed.
    Watch,
    /// The network changed.
    Network,
    /// A service wrote to its notify socket.
    Notify(UnitId),
    /// A service wrote to its readiness descriptor.
    ReadyFd(UnitId),
    /// A service wrote output.
    Output(UnitId),
    /// A main process that is not our child has ended.
    MainPid(UnitId),
    /// A probe goes on.
    Probe(UnitId, u8),
    /// A child says whether it could execute its program.
    Spawn(u32),
    /// pisup-init has spoken.
    Init,
    /// Nobody may be left of what a unit left behind.
    Emptied(UnitId),
}

const KIND_SHIFT: u32 = 56;
const SLOT_SHIFT: u32 = 32;

impl Token {
    /// The number for epoll.
    #[must_use]
    pub fn to_number(self) -> u64 {
        let (kind, slot, id): (u64, u8, u32) = match self {
            Self::Signals => (0, 0, 0),
            Self::Journal => (1, 0, 0),
            Self::Control => (2, 0, 0),
            Self::Client(id) => (3, 0, id),
            Self::Watch => (4, 0, 0),
            Self::Network => (5, 0, 0),
            Self::Notify(unit) => (6, 0, unit.0.into()),
            Self::ReadyFd(unit) => (7, 0, unit.0.into()),
            Self::Output(unit) => (8, 0, unit.0.into()),
            Self::MainPid(unit) => (9, 0, unit.0.into()),
            Self::Probe(unit, slot) => (10, slot, unit.0.into()),
            Self::Spawn(pid) => (11, 0, pid),
            Self::Init => (12, 0, 0),
            Self::Emptied(unit) => (13, 0, unit.0.into()),
            Self::Queries => (14, 0, 0),
        };
        kind << KIND_SHIFT | u64::from(slot) << SLOT_SHIFT | u64::from(id)
    }

    /// The words for a number; `None` for one that no token has.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        let id = u32::try_from(number & u64::from(u32::MAX)).ok()?;
        let slot = u8::try_from(number >> SLOT_SHIFT & 0xff).ok()?;
        let unit = || u16::try_from(id).ok().map(UnitId);
        Some(match number >> KIND_SHIFT {
            0 => Self::Signals,
            1 => Self::Journal,
            2 => Self::Control,
            3 => Self::Client(id),
            4 => Self::Watch,
            5 => Self::Network,
            6 => Self::Notify(unit()?),
            7 => Self::ReadyFd(unit()?),
            8 => Self::Output(unit()?),
            9 => Self::MainPid(unit()?),
            10 => Self::Probe(unit()?, slot),
            11 => Self::Spawn(id),
            12 => Self::Init,
            13 => Self::Emptied(unit()?),
            14 => Self::Queries,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for token in [
            Token::Signals,
            Token::Journal,
            Token::Control,
            Token::Queries,
            Token::Client(u32::MAX),
            Token::Watch,
            Token::Network,
            Token::Notify(UnitId(0)),
            Token::ReadyFd(UnitId(255)),
            Token::Output(UnitId(u16::MAX)),
            Token::MainPid(UnitId(3)),
            Token::Probe(UnitId(7), 9),
            Token::Spawn(4_194_304),
            Token::Init,
            Token::Emptied(UnitId(1)),
        ] {
            assert_eq!(Token::from_number(token.to_number()), Some(token));
        }
        assert_eq!(Token::from_number(u64::MAX), None);
    }
}
