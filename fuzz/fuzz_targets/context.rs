//! Fuzzes `flagraft_fuzz::context`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flagraft_fuzz::context::run(bytes));
