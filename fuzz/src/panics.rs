//! Panics that are wanted: they are caught, and do not end the fuzzer as all others do.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

/// What `act` says when it panics; `None` when it does not. For targets that have one thread.
pub fn panic_of(act: impl FnOnce()) -> Option<String> {
    let hook = take_hook();
    set_hook(Box::new(|_| ()));
    let ended = catch_unwind(AssertUnwindSafe(act));
    set_hook(hook);
    let panic = ended.err()?;
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
}
