//! See [`millpond_fuzz::redis`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millpond_fuzz::redis::run(bytes));
