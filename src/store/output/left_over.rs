//! Names of temporaries, and what killed runs left under such names.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use crate::store::sys::{self, Directory};

/// Prefix and suffix of all temporary names.
const PREFIX: &str = ".pipeline-";
const SUFFIX: &str = ".tmp";

/// Suffix of a temporary while it takes the place of another file, and of that file after it. It may be somebody's only copy: no cleanup removes it.
const SWAP_SUFFIX: &str = ".swap";

/// The name of the temporary `name` while it takes the place of another file.
pub(super) fn swap_name(name: &OsStr) -> OsString {
    let stem = name.as_bytes().strip_suffix(SUFFIX.as_bytes()).unwrap_or(name.as_bytes());
    let mut swap = OsStr::from_bytes(stem).to_owned();
    swap.push(SWAP_SUFFIX);
    swap
}

/// The prefix of all temporary names for this destination. Its length is fixed.
pub(super) fn temporary_prefix(final_name: &OsStr) -> String {
    format!("{PREFIX}{:016x}-", twox_hash::XxHash64::oneshot(0, final_name.as_bytes()))
}

/// An unpredictable temporary name for the destination `final_name`.
pub fn temporary_name(final_name: &OsStr) -> io::Result<OsString> {
    with_random(&temporary_prefix(final_name))
}

/// An unpredictable name, beside `name`, of a file that is about to be removed or replaced.
pub fn aside_name(name: &OsStr) -> io::Result<OsString> {
    Ok(swap_name(&temporary_name(name)?))
}

pub(super) fn with_random(prefix: &str) -> io::Result<OsString> {
    Ok(format!("{prefix}{:016x}{SUFFIX}", sys::random_u64()?).into())
}

/// Whether `name` is a temporary name, for any destination.
pub fn is_temporary_name(name: &OsStr) -> bool {
    let numbers = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.split_once('-'));
    let is_number = |text: &str| text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    numbers.is_some_and(|(destination, random)| is_number(destination) && is_number(random))
}

/// Whether `name` is that of a file that was replaced, or of a temporary about to replace it.
fn is_swap_name(name: &OsStr) -> bool {
    let stem = name.as_bytes().strip_suffix(SWAP_SUFFIX.as_bytes());
    stem.is_some_and(|stem| is_temporary_name(OsStr::from_bytes(&[stem, SUFFIX.as_bytes()].concat())))
}

/// What killed runs left in a directory.
#[derive(Debug, Default)]
pub struct LeftOver {
    /// Incomplete outputs, which were removed.
    pub removed_count: u64,
    /// Files that were replaced, or outputs about to replace them. They stay.
    pub swaps: Vec<OsString>,
}

/// Removes temporaries of killed runs whose names `is_wanted` accepts, and finds the files that such runs replaced. A failure is harmless.
pub fn tidy(directory: &Directory, is_wanted: impl Fn(&OsStr) -> bool) -> LeftOver {
    let is_left = |name: &OsStr| is_wanted(name) && (is_temporary_name(name) || is_swap_name(name));
    let mut left = LeftOver::default();
    for name in directory.names(is_left).unwrap_or_default() {
        let Some(_locked) = directory.lock_left_over(&name) else { continue };
        if is_swap_name(&name) {
            left.swaps.push(name);
        } else if directory.unlink(&name).is_ok() {
            // It is unlinked before it is unlocked, so that its creator notices.
            left.removed_count += 1;
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_name_fits_beside_the_longest_name_and_differs_by_destination() {
        let longest = OsString::from("x".repeat(255));
        assert!(temporary_prefix(&longest).len() + 20 < 64);
        assert_ne!(temporary_prefix(&longest), temporary_prefix(OsStr::new("other")));
    }

    #[test]
    fn only_names_of_temporaries_are_taken_for_such() {
        let name = temporary_name(OsStr::new("out")).unwrap().into_string().unwrap();
        assert!(is_temporary_name(OsStr::new(&name)));
        for other in [".pipeline-journal", ".pipeline-0-0.tmp", ".pipeline-x.tmp", "out", &name[1..], &name[..40]] {
            assert!(!is_temporary_name(OsStr::new(other)), "{other}");
        }
    }
}
