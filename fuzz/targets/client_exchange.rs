//! See [`millpond_fuzz::client_exchange`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millpond_fuzz::client_exchange::run(bytes));
