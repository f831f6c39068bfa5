//! See [`millpond_fuzz::presets`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millpond_fuzz::presets::run(bytes));
