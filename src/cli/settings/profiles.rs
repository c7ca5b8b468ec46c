//! The built-in profiles. A profile of the same name in the configuration file replaces a built-in one.

use super::file::Entry;
use super::value::Value;

/// Their names.
pub const NAMES: [&str; 3] = ["high-performance", "standard", "debug"];

/// What the profile `name` sets; `None` where it is not built in.
pub fn built_in(name: &str) -> Option<Vec<Entry>> {
    let settings: &[(&str, &str)] = match name {
        // Speed before size; what is durable stays so.
        "high-performance" => &[("level", "1"), ("channel-depth", "16")],
        "standard" => &[],
        // One worker, so that things happen in one order; everything said, and everything read back.
        "debug" => &[("workers", "1"), ("channel-depth", "1"), ("verify", "true"), ("log", "debug")],
        _ => return None,
    };
    let entry = |(key, text): &(&str, &str)| Entry {
        key: (*key).to_owned(),
        value: Value::Text((*text).to_owned()),
        line: None,
    };
    Some(settings.iter().map(entry).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::settings::known::ALL;

    #[test]
    fn built_in_profiles_hold_settings_that_are_known_and_valid() {
        for entry in NAMES.iter().flat_map(|name| built_in(name).unwrap()) {
            let known = ALL.iter().find(|known| known.key == entry.key).unwrap();
            (known.check)(&entry.value).unwrap();
        }
        assert!(built_in("mine").is_none());
    }
}
