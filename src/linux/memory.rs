//! Memory that a process which only waits does not need.

use libc::{c_int, c_void, dl_phdr_info, size_t};

/// Gives back what can be had again: the pages of our own program, which the kernel reads from the file when they are needed,
/// and what is free of the heap. To be called before a long wait.
pub fn give_back() {
    // SAFETY: the callback has the type that dl_iterate_phdr(3) calls, and takes no data.
    unsafe { libc::dl_iterate_phdr(Some(forget_program), std::ptr::null_mut()) };
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes a number and looks at nothing but the heap's free parts.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Drops the pages of every part of an object that is never written: code and constants, but nothing that was relocated.
unsafe extern "C" fn forget_program(object: *mut dl_phdr_info, _: size_t, _: *mut c_void) -> c_int {
    // SAFETY: dl_iterate_phdr gives a structure that is valid for this call, with its table of program headers.
    let (base, headers) = unsafe {
        let object = &*object;
        (object.dlpi_addr, std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)))
    };
    let page = page_size();
    for part in headers.iter().filter(|part| part.p_type == libc::PT_LOAD && part.p_flags & libc::PF_W == 0) {
        // Whole pages only: the first and the last one may be another part's, too.
        let start = (base + part.p_vaddr).next_multiple_of(page);
        let end = (base + part.p_vaddr + part.p_memsz) / page * page;
        if start < end {
            // SAFETY: these pages are a private mapping of a file and were never written, so that what is read after this is what
            // was there before (madvise(2), MADV_DONTNEED).
            unsafe { libc::madvise(start as *mut c_void, (end - start) as usize, libc::MADV_DONTNEED) };
        }
    }
    0
}

fn page_size() -> u64 {
    // SAFETY: sysconf takes a number.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In kB.
    fn proportional_size() -> u64 {
        let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn what_is_given_back_can_be_used_again() {
        let before = proportional_size();
        give_back();
        let after = proportional_size();
        assert!(after < before, "{after} kB after, {before} kB before");
        assert_eq!(format!("{:?}", [1, 2]), "[1, 2]");
    }
}
