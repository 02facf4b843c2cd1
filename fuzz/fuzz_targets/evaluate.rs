//! Fuzzes `flagraft_fuzz::evaluate`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flagraft_fuzz::evaluate::run(bytes));
