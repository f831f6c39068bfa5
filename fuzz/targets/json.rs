//! See [`millpond_fuzz::json`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millpond_fuzz::json::run(bytes));
