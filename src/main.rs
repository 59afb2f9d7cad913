//! The binary: hands the command line to the library.

use std::process::ExitCode;

/// Change events are many small allocations; this allocator takes a fifth less CPU for them than the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// mimalloc's option `purge_delay`, by its number in mimalloc.h.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Milliseconds until the system is given back what is free; what sets MIMALLOC_PURGE_DELAY is asked first. With the
/// allocator's own 10 a twentieth of the CPU time goes into clearing the same pages again and again: a stage hands what it
/// made to another thread, which frees it at once.
const PURGED_AFTER: i64 = 10_000;

fn main() -> ExitCode {
    // SAFETY: sets a number, before there are other threads.
    unsafe { libmimalloc_sys::mi_option_set_default(PURGE_DELAY, PURGED_AFTER) };
    evenkeel::app::cli::main()
}
