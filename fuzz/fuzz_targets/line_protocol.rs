#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| bulkhead::hostile_input::line_protocol(bytes));
