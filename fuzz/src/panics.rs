//! Catches expected panics, so that they do not end the fuzzer.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

/// The panic message of `act`; `None` if it does not panic. It swaps the global hook, so it is for single-threaded targets only.
pub fn panic_of(act: impl FnOnce()) -> Option<String> {
    let hook = take_hook();
    set_hook(Box::new(|_| ()));
    let ended = catch_unwind(AssertUnwindSafe(act));
    set_hook(hook);
    let panic = ended.err()?;
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
}
