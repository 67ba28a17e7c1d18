//! helper.
