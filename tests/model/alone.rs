//! The machine alone, as the crate that the model expects: no other crate has to be built.
extern crate alloc;

#[path = "../../src/machine/mod.rs"]
pub mod machine;
