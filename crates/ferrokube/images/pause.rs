//! The pause container: holds a pod's namespaces open, reaps orphans, and ends on SIGTERM or SIGINT.
//!
//! A program of its own, built statically by `build.rs`; nothing but the C library.
use std::ffi::c_int;

const SIGINT: c_int = 2;
const SIGTERM: c_int = 15;
const SIGCHLD: c_int = 17;
const WNOHANG: c_int = 1;

unsafe extern "C" {
    fn signal(signum: c_int, handler: usize) -> usize;
    fn pause() -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(status: c_int) -> !;
}

extern "C" fn end(_: c_int) {
    // SAFETY: `_exit` is async-signal-safe.
    unsafe { _exit(0) }
}

extern "C" fn reap(_: c_int) {
    // SAFETY: `waitpid` is async-signal-safe, and a null status pointer is allowed.
    while unsafe { waitpid(-1, std::ptr::null_mut(), WNOHANG) } > 0 {}
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("-v") {
        println!("pause {}", env!("PAUSE_VERSION"));
        return;
    }
    // SAFETY: both handlers call only async-signal-safe functions; `pause` has no preconditions.
    unsafe {
        signal(SIGINT, end as *const () as usize);
        signal(SIGTERM, end as *const () as usize);
        signal(SIGCHLD, reap as *const () as usize);
        loop {
            pause();
        }
    }
}
