#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::packet_3_1_1(bytes));
