//! See [`millpond_fuzz::proxied_conversation`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millpond_fuzz::proxied_conversation::run(bytes));
