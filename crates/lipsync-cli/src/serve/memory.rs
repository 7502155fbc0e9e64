// SPDX-License-Identifier: MPL-2.0
//! Memory that sessions leave behind is given back.
//!
//! The C library keeps an arena for each thread that ever allocated at the same time as others, and what is freed in
//! there: each session has a dozen threads, and after ten of them half a gigabyte would be kept that nobody uses.

/// Keeps the number of arenas small. To be called before there are threads.
pub fn keep_together() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt may be called at any time, with any value; it is refused where it cannot be done.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Gives back to the system what was freed.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim may be called at any time, by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}
