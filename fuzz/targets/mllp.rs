//! See [`millpond_fuzz::mllp`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millpond_fuzz::mllp::run(bytes));
