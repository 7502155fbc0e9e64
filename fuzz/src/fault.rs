// SPDX-License-Identifier: MPL-2.0
//! Tells in whose code a process crashed: ours, or a library's such as ONNX Runtime.

use std::ffi::{CStr, c_int, c_void};
use std::sync::Once;

const SIGNALS: [c_int; 4] = [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];

/// Has panics that the crate `ort` is known for, and that the plugin makes errors of, not end the process.
fn forgive() {
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_known = |place: &std::panic::Location<'_>| place.file().ends_with("src/value/type.rs");
        if !panic.location().is_some_and(is_known) {
            abort(panic);
        }
    }));
}

/// Has a line `fault in FILE` written before libFuzzer says that there was a signal.
pub fn tell() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        forgive();
        for signal in SIGNALS {
            // SAFETY: the handler does nothing but to write a line and to leave the rest to the default.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = handle as *const () as usize;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESETHAND;
                libc::sigaction(signal, &action, std::ptr::null_mut());
            }
        }
    });
}

extern "C" fn handle(_signal: c_int, _info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel gives the context of the thread. The instruction that failed is tried again after this, and then
    // ends the process: the handler was reset.
    unsafe {
        let context = &*context.cast::<libc::ucontext_t>();
        #[cfg(target_arch = "x86_64")]
        let place = context.uc_mcontext.gregs[libc::REG_RIP as usize] as *const c_void;
        #[cfg(target_arch = "aarch64")]
        let place = context.uc_mcontext.pc as *const c_void;
        let mut found: libc::Dl_info = std::mem::zeroed();
        let known = libc::dladdr(place, &mut found) != 0 && !found.dli_fname.is_null();
        let name = if known { CStr::from_ptr(found.dli_fname).to_bytes() } else { b"unknown code" };
        for part in [b"fault in ", name, b"\n"] {
            libc::write(2, part.as_ptr().cast(), part.len());
        }
    }
}
