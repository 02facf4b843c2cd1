//! Fuzzes `flagraft_fuzz::expression`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| flagraft_fuzz::expression::run(bytes));
