//! The memory policy of this process (set_mempolicy(2)).

use std::io;

use crate::linux::bits::Bits;

/// Sets the policy for all memory that this thread and its children take from now on. `mode` is an `MPOL_*` with its `MPOL_F_*`.
///
/// # Errors
/// EINVAL for nodes that are not there or that the mode does not take, and for a mode or flag that the kernel does not know;
/// ENOSYS without CONFIG_NUMA.
pub fn set_policy(mode: u32, nodes: &Bits) -> io::Result<()> {
    // The kernel counts one bit less than it is told, and looks at none beyond the last that is set.
    let (mask, count) = match nodes.last() {
        Some(last) => (nodes.words().as_ptr(), last + 2),
        None => (std::ptr::null(), 0),
    };
    // SAFETY: the kernel reads `count` bits at most, fewer than the set has, which outlives the call.
    if unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, count) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
