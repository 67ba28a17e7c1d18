//! The machine decides, and touches nothing.
#![cfg_attr(pure, no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod cause;
pub mod event;
pub mod ids;
pub mod spec;
pub mod view;

pub use cause::{Cause, Hold};
pub use event::{Action, Event, Exit, Values};
pub use ids::{Run, Tick, UnitId};
pub use spec::Spec;
pub use view::State;
