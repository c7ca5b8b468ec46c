//! The built-in profiles. A profile of the same name in the configuration file replaces a built-in one.

use super::file::Entry;
use super::value::Value;

/// The names of the built-in profiles.
pub const NAMES: [&str; 3] = ["high-performance", "standard", "debug"];

/// The settings of the built-in profile `name`; `None` if there is none.
pub fn built_in(name: &str) -> Option<Vec<Entry>> {
    let settings: &[(&str, &str)] = match name {
        // Favors speed over size; durability stays on.
        "high-performance" => &[("level", "1"), ("channel-depth", "16")],
        "standard" => &[],
        // One worker makes the order of events deterministic.
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
