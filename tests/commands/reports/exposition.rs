//! A parser of Prometheus' text format 0.0.4, stricter than Prometheus itself: any deviation from the format fails the
//! test.

use std::collections::BTreeMap;

/// Names and values of all labels of a sample.
pub type Labels = BTreeMap<String, String>;

/// Metrics of one name.
#[derive(Debug)]
pub struct Family {
    pub kind: String,
    pub help: String,
    /// Samples by labels and name; the name of a summary can have a suffix.
    pub samples: BTreeMap<(String, Labels), f64>,
}

/// Parses `text`; families by name.
pub fn parse(text: &str) -> BTreeMap<String, Family> {
    assert!(text.ends_with('\n'));
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut at = String::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# HELP ") {
            let (name, help) = head.split_once(' ').unwrap();
            assert!(is_name(name) && !help.is_empty(), "{line}");
            at = name.to_owned();
            let family = Family { kind: String::new(), help: help.to_owned(), samples: BTreeMap::new() };
            assert!(families.insert(at.clone(), family).is_none(), "a family is in one piece: {line}");
        } else if let Some(head) = line.strip_prefix("# TYPE ") {
            let (name, kind) = head.split_once(' ').unwrap();
            let family = families.get_mut(name).unwrap();
            assert!(name == at && family.kind.is_empty() && family.samples.is_empty(), "{line}");
            assert!(["gauge", "counter", "summary"].contains(&kind), "{line}");
            kind.clone_into(&mut family.kind);
        } else {
            let (name, labels, value) = sample(line);
            let family = families.get_mut(&at).unwrap();
            let suffix = name.strip_prefix(&at).unwrap_or_else(|| panic!("{line} is in {at}"));
            match (family.kind.as_str(), suffix) {
                ("summary", "") => assert!(labels.contains_key("quantile"), "{line}"),
                ("summary", "_sum" | "_count") | ("gauge" | "counter", "") => {
                    assert!(!labels.contains_key("quantile"), "{line}");
                }
                other => panic!("{line}: {other:?}"),
            }
            assert!(family.samples.insert((name, labels), value).is_none(), "twice: {line}");
        }
    }
    families
}

/// Parses a line into name, labels and value.
fn sample(line: &str) -> (String, Labels, f64) {
    let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap());
    assert!(is_name(name), "{line}");
    let (mut labels, mut rest) = (Labels::new(), rest);
    if let Some(mut inside) = rest.strip_prefix('{') {
        while !inside.starts_with('}') {
            let (key, behind) = inside.split_once("=\"").unwrap();
            let (value, behind) = quoted(behind);
            assert!(is_name(key) && !key.contains(':'), "{line}");
            assert!(labels.insert(key.to_owned(), value).is_none(), "{line}");
            inside = behind.strip_prefix(',').unwrap_or(behind);
            assert!(behind.starts_with([',', '}']), "{line}");
        }
        rest = &inside[1..];
    }
    let value = rest.strip_prefix(' ').unwrap();
    (name.to_owned(), labels, value.parse().unwrap_or_else(|_| panic!("{line}")))
}

/// A quoted value, and the text after its closing quote.
fn quoted(text: &str) -> (String, &str) {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    loop {
        match chars.next().unwrap() {
            (at, '"') => return (value, &text[at + 1..]),
            (_, '\\') => value.push(match chars.next().unwrap().1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                c => panic!("there is no \\{c}"),
            }),
            (_, c) => value.push(c),
        }
    }
}

fn is_name(name: &str) -> bool {
    let is_inside = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    name.starts_with(|c: char| is_inside(c) && !c.is_ascii_digit()) && name.chars().all(is_inside)
}
