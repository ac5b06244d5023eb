#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| birthmark_fuzz::prefix(bytes));
