//! How the kernel schedules this process: sched_setattr(2), ioprio_set(2), sched_setaffinity(2).

use std::io;

use crate::linux::bits::Bits;

/// `struct sched_attr` of Linux 5.3. Times are nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Attributes {
    size: u32,
    /// `SCHED_OTHER`, ...
    pub policy: u32,
    /// `SCHED_FLAG_*`
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
    /// Utilization clamps, for which `config.json` has no values.
    clamps: [u32; 2],
}

impl Attributes {
    pub fn of(policy: u32) -> Attributes {
        Attributes { size: size_of::<Attributes>() as u32, policy, ..Attributes::default() }
    }
}

/// Gives this thread a scheduling policy.
///
/// # Errors
/// EPERM without CAP_SYS_NICE and outside of what RLIMIT_NICE and RLIMIT_RTPRIO allow; for a deadline also where not all CPUs may
/// be used; EINVAL for a combination that the policy does not have; EBUSY where a deadline cannot be promised.
pub fn set_attributes(attributes: Attributes) -> io::Result<()> {
    // SAFETY: the kernel reads `size` bytes of a struct sched_attr that outlives the call.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives this thread an I/O class (1 realtime, 2 best effort, 3 idle) and a level in it, 0 to 7.
pub fn set_io_priority(class: u16, level: u16) -> io::Result<()> {
    const PROCESS: libc::c_int = 1; // IOPRIO_WHO_PROCESS
    const CLASS_SHIFT: u32 = 13;
    let value = libc::c_int::from(class) << CLASS_SHIFT | libc::c_int::from(level);
    // SAFETY: ioprio_set takes three integers.
    if unsafe { libc::syscall(libc::SYS_ioprio_set, PROCESS, 0, value) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// The CPUs that this thread may run on.
pub fn cpus() -> io::Result<Bits> {
    let mut bits = Bits::all();
    let words = bits.words_mut();
    // SAFETY: the kernel writes at most as many bytes as the slice has.
    let got = unsafe { libc::syscall(libc::SYS_sched_getaffinity, 0, size_of_val(words), words.as_mut_ptr()) };
    match usize::try_from(got) {
        Ok(bytes) => {
            words[bytes / size_of::<libc::c_ulong>()..].fill(0);
            Ok(bits)
        }
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Lets this thread run on these CPUs, as far as its cpuset has them.
///
/// # Errors
/// EINVAL where it has none of them.
pub fn set_cpus(cpus: &Bits) -> io::Result<()> {
    let words = cpus.words();
    // SAFETY: the kernel reads the bytes of the slice, which outlives the call.
    let done = unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(words), words.as_ptr()) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpus_of_this_thread_can_be_narrowed_and_given_back() {
        std::thread::spawn(|| {
            let before = cpus().unwrap();
            let first = before.first().unwrap();
            set_cpus(&Bits::of([first])).unwrap();
            assert_eq!(cpus().unwrap(), Bits::of([first]));
            set_cpus(&Bits::all()).unwrap();
            assert!(before.is_subset_of(&cpus().unwrap()));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_policy_and_an_io_class_without_privileges_can_be_set() {
        std::thread::spawn(|| {
            set_attributes(Attributes { nice: 19, ..Attributes::of(libc::SCHED_BATCH as u32) }).unwrap();
            set_io_priority(3, 0).unwrap();
            assert!(set_io_priority(5, 0).is_err());
        })
        .join()
        .unwrap();
    }
}
