#![no_main]

use std::panic::set_hook;
use std::sync::Once;

static QUIET: Once = Once::new();

// Arrow panics over some lies, which the decoder catches; the fuzzer's own hook would take each for a finding. A panic that nobody
// catches ends the fuzzer all the same.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    QUIET.call_once(|| set_hook(Box::new(|_| ())));
    bulkhead::hostile_input::arrow(bytes);
});
