//! Fuzzes `flagraft_fuzz::condition`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flagraft_fuzz::condition::run(bytes));
