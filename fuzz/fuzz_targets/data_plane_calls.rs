#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::data_plane_calls(bytes));
