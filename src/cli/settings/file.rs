//! The configuration file: TOML, with settings at top level and in tables `[profile.NAME]`. All of it is checked when it is read, so that
//! a mistake in an unused profile shows early.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::known::{self, SettingSpec};
use super::value::Value;
use crate::cli::problem::{Problem, quoted};
use crate::store::sys;

/// The largest accepted file, far above what people write by hand.
const FILE_LEN_MAX: u64 = 1024 * 1024;

/// The Jaro similarity above which a word is suggested for a mistyped one.
const NEAR: f64 = 0.7;

/// A configuration file that passed all checks.
#[derive(Debug)]
pub struct ConfigFile {
    /// The path of the file.
    pub path: PathBuf,
    /// Its top-level settings.
    pub entries: Vec<Entry>,
    /// The profiles, each with its name.
    pub profiles: Vec<(String, Vec<Entry>)>,
}

/// A setting and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key of the setting.
    pub key: String,
    /// The value.
    pub value: Value,
    /// Its line, from 1; `None` for a built-in value.
    pub line: Option<usize>,
}

impl ConfigFile {
    /// Reads and checks the file at `path`.
    pub fn read(path: &Path) -> Result<ConfigFile, Problem> {
        use std::io::Read;

        let cannot_read = |error: std::io::Error| Problem::usage(format!("cannot read {}: {error}", quoted(path)));
        let mut text = String::new();
        let file = sys::open_to_read(path, None).map_err(cannot_read)?;
        // A command that nobody answers would wait before it says a word.
        let metadata = file.metadata().map_err(cannot_read)?;
        if sys::may_wait(&metadata) && !sys::is_memory_device(&metadata) {
            return Err(Problem::usage(format!("{} cannot be the configuration: it is no regular file", quoted(path))));
        }
        let len = file.take(FILE_LEN_MAX + 1).read_to_string(&mut text).map_err(cannot_read)?;
        if len as u64 > FILE_LEN_MAX {
            return Err(Problem::usage(format!("{} is too large to be a configuration", quoted(path))));
        }
        let reader = Reader { path, text: &text };
        let root = DeTable::parse(&text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            reader.problem(start, error.message())
        })?;
        reader.file(root.get_ref())
    }
}

/// The file under parsing, for messages with line numbers.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn file(&self, root: &DeTable<'_>) -> Result<ConfigFile, Problem> {
        let mut file = ConfigFile { path: self.path.to_owned(), entries: Vec::new(), profiles: Vec::new() };
        for (key, value) in root {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("profile", DeValue::Table(profiles)) => {
                    for (name, table) in profiles {
                        let DeValue::Table(settings) = table.get_ref() else {
                            return Err(self.problem(name.span().start, "a profile is a table: [profile.NAME]"));
                        };
                        let entries = settings.iter().map(|(key, value)| self.entry(key, value));
                        file.profiles.push((name.get_ref().to_string(), entries.collect::<Result<_, _>>()?));
                    }
                }
                ("profile", _) => return Err(self.problem(key.span().start, "a profile is a table: [profile.NAME]")),
                (name, _) => {
                    if known(name).is_some_and(|known| known.is_list) {
                        let message = format!("{name} stands in a profile, which takes a flag to name");
                        let problem = self.problem(key.span().start, &message);
                        return Err(problem.hint("[profile.NAME] above it, and --profile NAME"));
                    }
                    file.entries.push(self.entry(key, value)?);
                }
            }
        }
        Ok(file)
    }

    fn entry(&self, key: &Spanned<toml::de::DeString<'_>>, value: &Spanned<DeValue<'_>>) -> Result<Entry, Problem> {
        let (name, start) = (key.get_ref().as_ref(), key.span().start);
        let Some(known) = known(name) else {
            let problem = self.problem(start, &format!("there is no setting {}", quoted(name)));
            return Err(match nearest(name, known::ALL.iter().map(|known| known.key)) {
                Some(key) => problem.hint(format!("a similar one exists: {key}")),
                None => problem.hint("'pipeline config show' lists them"),
            });
        };
        let entry = |value| Entry { key: name.to_owned(), value, line: Some(self.line(start)) };
        let value = value_of(value.get_ref())
            .ok_or_else(|| self.problem(start, &format!("{name}: a text or a number is expected")))?;
        (known.check)(&value).map_err(|error| self.problem(start, &format!("{name}: {error}")))?;
        Ok(entry(value))
    }

    fn problem(&self, start: usize, message: &str) -> Problem {
        Problem::usage(format!("{}, line {}: {message}", quoted(self.path), self.line(start)))
    }

    fn line(&self, start: usize) -> usize {
        1 + self.text.as_bytes()[..start.min(self.text.len())].iter().filter(|byte| **byte == b'\n').count()
    }
}

fn known(key: &str) -> Option<&'static SettingSpec> {
    known::ALL.iter().find(|known| known.key == key)
}

fn value_of(value: &DeValue<'_>) -> Option<Value> {
    match value {
        DeValue::String(text) => Some(Value::Text(text.to_string())),
        DeValue::Integer(number) if number.radix() == 10 => Some(Value::Text(number.as_str().to_owned())),
        DeValue::Boolean(value) => Some(Value::Text(value.to_string())),
        DeValue::Array(values) => {
            let words = values.iter().map(|value| value.get_ref().as_str().map(str::to_owned));
            words.collect::<Option<_>>().map(Value::List)
        }
        _ => None,
    }
}

/// The word of `known` that `typed` is most likely a mistyping of.
pub fn nearest<'a>(typed: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = |word: &str| strsim::jaro(word, typed);
    known.max_by(|a, b| near(a).total_cmp(&near(b))).filter(|nearest| near(nearest) > NEAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ConfigFile, Problem> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c");
        std::fs::write(&path, text).unwrap();
        ConfigFile::read(&path)
    }

    #[test]
    fn settings_and_profiles_are_read_with_their_lines() {
        let file = read("level = 5\n\n[profile.backup]\nchunk-size = \"8M\"\nidentities = ['a', 'b']\n").unwrap();
        let entry = |key: &str, value, line| Entry { key: key.to_owned(), value, line: Some(line) };
        assert_eq!(file.entries, [entry("level", Value::Text("5".to_owned()), 1)]);
        let (name, entries) = &file.profiles[0];
        assert_eq!(name, "backup");
        assert!(entries.contains(&entry("chunk-size", Value::Text("8M".to_owned()), 4)));
        assert!(entries.contains(&entry("identities", Value::List(vec!["a".to_owned(), "b".to_owned()]), 5)));
    }

    #[test]
    fn every_mistake_names_its_line() {
        for (text, said) in [
            ("level = 99", "line 1: level: there is no level 99"),
            ("\nworkers = 'many'", "line 2: workers: 'many' is not a number"),
            ("lvl = 3", "line 1: there is no setting 'lvl'"),
            ("chunk_size = '4M'", "line 1: there is no setting 'chunk_size'"),
            ("[profile.a]\n[profile.b]\nlevel = 0", "line 3: level: there is no level 0"),
            ("recipients = ['age1x']", "line 1: recipients stands in a profile"),
            ("level = 1\nlevel = 2", "line 2: duplicate key"),
            ("level = ", "line 1: "),
            ("profile = 3", "line 1: a profile is a table"),
            ("level = 1.5", "line 1: level: a text or a number is expected"),
            ("level = [1]", "line 1: level: a text or a number is expected"),
            ("level = ['1']", "line 1: level: one value is expected, not a list"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
