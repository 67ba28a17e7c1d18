//! What a child may keep of root's powers, applied in the child between fork and exec.
//!
//! The bounding set keeps set-user-id programs and root itself from getting back what was
//! dropped; for another user the ambient set carries what is kept through exec. Nothing here
//! allocates.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities,
};

/// The capabilities that a child keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    keep: CapabilitySet,
}

impl Caps {
    /// Keeps those numbers (0 is `chown`); numbers over 63 do not exist and are passed over.
    #[must_use]
    pub fn keep(numbers: &[u8]) -> Self {
        let bits = numbers.iter().filter_map(|number| 1_u64.checked_shl(u32::from(*number)));
        let keep = CapabilitySet::from_bits_retain(bits.fold(0, |all, bit| all | bit));
        Self { keep }
    }

    /// First half, before the change of user, which would lose the right to do it.
    ///
    /// # Errors
    ///
    /// The system refused; EPERM without `setpcap`.
    pub fn limit(&self) -> Result<(), Errno> {
        for number in 0..u64::BITS {
            let one = CapabilitySet::from_bits_retain(1 << number);
            match capability_is_in_bounding_set(one) {
                Ok(true) if !self.keep.contains(one) => remove_capability_from_bounding_set(one)?,
                Ok(_) => {}
                // Above the kernel's last one.
                Err(_) => break,
            }
        }
        set_keep_capabilities(true)
    }

    /// Second half, as the user that the program runs as.
    ///
    /// # Errors
    ///
    /// The system refused.
    pub fn apply(&self) -> Result<(), Errno> {
        let kept = capabilities(None)?.permitted & self.keep;
        set_capabilities(
            None,
            CapabilitySets { effective: kept, permitted: kept, inheritable: kept },
        )?;
        set_keep_capabilities(false)?;
        // Kernels before 4.3 have no ambient set; root gets by without.
        if clear_ambient_capability_set().is_err() {
            return Ok(());
        }
        for one in kept.iter() {
            configure_capability_in_ambient_set(one, true)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_become_bits() {
        assert_eq!(Caps::keep(&[]).keep.bits(), 0);
        assert_eq!(Caps::keep(&[0, 10, 40]).keep.bits(), 1 | 1 << 10 | 1 << 40);
        assert_eq!(Caps::keep(&[64, 255]).keep.bits(), 0);
    }
}
