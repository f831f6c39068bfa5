//! See [`millpond_fuzz::decoder`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millpond_fuzz::decoder::run(bytes));
