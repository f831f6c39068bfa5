//! See [`millpond_fuzz::server_connection`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millpond_fuzz::server_connection::run(bytes));
