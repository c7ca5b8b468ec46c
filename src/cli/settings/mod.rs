//! Settings that have several sources. A flag wins over the environment, that over the profile, that over the top level of the
//! configuration file, and that over the default. A value is checked at its source, and an error names the source.
//!
//! [`known`] lists the settings, [`mod@file`] reads the configuration file, [`profiles`] has the built-in profiles.

pub mod known;

pub mod file;

pub mod flags;

pub mod value;

pub mod profiles;

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::cli::problem::{Problem, quoted};
use crate::task::keys::SecretBytes;
use file::{ConfigFile, Entry};
use flags::ConfigArgs;
use known::{Setting, SettingSpec};
use value::Value;

/// The sources of values other than flags.
pub struct Settings {
    variable: fn(&str) -> Option<OsString>,
    file: Option<ConfigFile>,
    /// The name and the entries of the selected profile.
    profile: Option<(String, Vec<Entry>)>,
    /// The value of `AGE_PASSPHRASE`.
    passphrase: Option<SecretBytes>,
}

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// An environment variable, by name.
    Variable(String),
    /// A built-in profile, by name.
    BuiltIn(String),
    /// A line of the configuration file, in a profile or at top level.
    File {
        /// The path of the file.
        path: PathBuf,
        /// The line number, from 1.
        line: usize,
    },
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Variable(name) => write!(f, "the environment variable {name}"),
            Source::BuiltIn(profile) => write!(f, "the built-in profile {profile}"),
            Source::File { path, line } => write!(f, "{}, line {line}", quoted(path)),
        }
    }
}

impl Settings {
    /// Reads the configuration file that `args` name, or the one in the XDG configuration folder, and finds the profile.
    /// `passphrase` is the value of `AGE_PASSPHRASE`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, if it holds an unknown or invalid setting, or if the profile does not exist.
    pub fn load(args: &ConfigArgs, passphrase: Option<SecretBytes>) -> Result<Settings, Problem> {
        let settings = Settings::load_from(args, |name| std::env::var_os(name))?;
        Ok(Settings { passphrase, ..settings })
    }

    /// Like [`Settings::load`], with `variable` as the environment.
    fn load_from(args: &ConfigArgs, variable: fn(&str) -> Option<OsString>) -> Result<Settings, Problem> {
        let file = match (&args.config, args.no_config) {
            (Some(path), _) => Some(ConfigFile::read(path)?),
            (None, true) => None,
            (None, false) => {
                match folder(variable, "XDG_CONFIG_HOME", ".config").map(|folder| folder.join("config.toml")) {
                    Some(path) if is_there(&path) => {
                        let hint = "--no-config leaves the file alone";
                        Some(ConfigFile::read(&path).map_err(|problem| problem.or_hint(hint))?)
                    }
                    _ => None,
                }
            }
        };
        let profile = args.profile.as_deref().map(|name| profile(name, file.as_ref())).transpose()?;
        Ok(Settings { variable, file, profile, passphrase: None })
    }

    /// The path of the configuration file, if one was read.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path.as_path())
    }

    /// The value of `AGE_PASSPHRASE`.
    pub fn passphrase(&self) -> Option<&SecretBytes> {
        self.passphrase.as_ref()
    }

    /// The name of the selected profile.
    pub fn profile(&self) -> Option<&str> {
        self.profile.as_ref().map(|(name, _)| name.as_str())
    }

    /// The value of `setting`: `flag`, or that of the next source that has one. `None` means the default.
    pub fn get<T>(&self, setting: &Setting<T>, flag: Option<T>) -> Result<Option<T>, Problem> {
        if flag.is_some() {
            return Ok(flag);
        }
        let Some((text, source)) = self.find(setting.key, setting.theirs)? else { return Ok(None) };
        (setting.parse)(&text).map(Some).map_err(|error| Problem::usage(format!("{source}: {}: {error}", setting.key)))
    }

    /// The words of a list that only profiles may hold, such as `recipients`, and their source.
    pub fn list(&self, key: &str) -> Option<(Vec<String>, Source)> {
        let entry = self.profile.iter().flat_map(|(_, entries)| entries).find(|entry| entry.key == key)?;
        Some((entry.value.words(), self.source_of(entry)))
    }

    /// The paths of such a list. Relative paths start at the configuration file's folder; `~/` is the home directory.
    pub fn paths(&self, key: &str) -> Vec<PathBuf> {
        let folder = self.file.as_ref().and_then(|file| file.path.parent()).unwrap_or(Path::new(""));
        let home = (self.variable)("HOME").map(PathBuf::from);
        let (words, _) = self.list(key).unzip();
        let expand = |word: String| match (word.strip_prefix("~/"), &home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => folder.join(word),
        };
        words.unwrap_or_default().into_iter().map(expand).collect()
    }

    /// The effective settings, one line each, as a configuration file that has the same effect with the same profile. `defaults` gives the
    /// default of a setting.
    pub fn show(&self, defaults: impl Fn(&SettingSpec) -> Option<String>) -> Result<String, Problem> {
        let (mut settings, mut lists) = (Vec::new(), Vec::new());
        for known in known::ALL.iter().filter(|known| !known.is_list) {
            let (shown, source) = match (self.find(known.key, known.theirs)?, defaults(known)) {
                (Some((text, source)), _) => {
                    let value = Value::Text(text);
                    let problem = |error| Problem::usage(format!("{source}: {}: {error}", known.key));
                    (known.check)(&value).map_err(problem)?;
                    (format!("{} = {}", known.key, value.as_toml()), source.to_string())
                }
                (None, Some(default)) => {
                    (format!("# {} = {}", known.key, Value::Text(default).as_toml()), "default".to_owned())
                }
                (None, None) => (format!("# {}", known.key), "not set".to_owned()),
            };
            settings.push(format!("{shown:<29} # {source}"));
        }
        for known in known::ALL.iter().filter(|known| known.is_list) {
            let Some((words, source)) = self.list(known.key) else { continue };
            let paths = || self.paths(known.key).iter().map(|path| path.display().to_string()).collect();
            let words = if known.key == known::RECIPIENTS { words } else { paths() };
            lists.push(format!("{} = {} # {source}", known.key, Value::List(words).as_toml()));
        }
        let file = self
            .file()
            .map_or("no configuration file".to_owned(), |file| format!("configuration file: {}", quoted(file)));
        let mut lines = vec![format!("# {file}")];
        lines.extend(self.profile().map(|name| format!("# profile: {name}")));
        lines.append(&mut settings);
        if let (Some(name), false) = (self.profile(), lists.is_empty()) {
            lines.push(format!("[profile.{}]", Value::Text(name.to_owned()).as_key()));
            lines.append(&mut lists);
        }
        Ok(lines.join("\n") + "\n")
    }

    /// The value of `key` from sources other than flags. An invalid value of zstd's variable `theirs` is ignored, because it is not meant
    /// for this program.
    fn find(&self, key: &str, theirs: Option<&str>) -> Result<Option<(String, Source)>, Problem> {
        let set = |name: &str| (self.variable)(name).filter(|value| !value.is_empty());
        let name = variable_name(key);
        if let Some(value) = set(&name) {
            let text = |value: &OsStr| value.to_str().map(str::to_owned);
            let text = text(&value).ok_or_else(|| {
                Problem::usage(format!("{} in the environment variable {name} is no text", quoted(&value)))
            })?;
            return Ok(Some((text, Source::Variable(name))));
        }
        let check = known::ALL.iter().find(|known| known.key == key).map(|known| known.check);
        if let Some((name, text)) = theirs.and_then(|name| Some((name, set(name)?.into_string().ok()?)))
            && check.is_some_and(|check| check(&Value::Text(text.clone())).is_ok())
        {
            return Ok(Some((text, Source::Variable(name.to_owned()))));
        }
        let in_profile = self.profile.iter().flat_map(|(_, entries)| entries);
        let in_file = self.file.iter().flat_map(|file| &file.entries);
        let entry = in_profile.chain(in_file).find(|entry| entry.key == key);
        Ok(entry.and_then(|entry| Some((entry.value.text()?, self.source_of(entry)))))
    }

    fn source_of(&self, entry: &Entry) -> Source {
        match (entry.line, &self.file, &self.profile) {
            (Some(line), Some(file), _) => Source::File { path: file.path.clone(), line },
            (_, _, Some((profile, _))) => Source::BuiltIn(profile.clone()),
            _ => unreachable!("internal error: a setting from nowhere"),
        }
    }
}

/// The environment variable of `key`: `PIPELINE_CHUNK_SIZE` for `chunk-size`.
fn variable_name(key: &str) -> String {
    format!("{PREFIX}{}", key.to_ascii_uppercase().replace('-', "_"))
}

/// The prefix of this program's environment variables.
pub const PREFIX: &str = "PIPELINE_";

/// Whether the environment variable `name` is that of a setting.
pub fn is_variable(name: &str) -> bool {
    known::ALL.iter().any(|known| variable_name(known.key) == name)
}

/// This program's folder of one kind, as the XDG Base Directory Specification defines it: `pipeline` in the path that the variable `name`
/// holds, else in `default` in the home directory. Paths that are not absolute are ignored.
pub fn folder(variable: fn(&str) -> Option<OsString>, name: &str, default: &str) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute(name).or_else(|| Some(absolute("HOME")?.join(default)))?;
    Some(folder.join("pipeline"))
}

/// Whether `path` exists, even as a dangling link. A folder that this user may not search counts as absent: HOME may still name another
/// user's home.
fn is_there(path: &Path) -> bool {
    let absent = [ErrorKind::NotFound, ErrorKind::NotADirectory, ErrorKind::PermissionDenied];
    !path.symlink_metadata().is_err_and(|error| absent.contains(&error.kind()))
}

/// The profile `name`, from the file or built in.
fn profile(name: &str, file: Option<&ConfigFile>) -> Result<(String, Vec<Entry>), Problem> {
    let own = file.iter().flat_map(|file| &file.profiles);
    let mut known: Vec<&str> = profiles::NAMES.into_iter().chain(own.clone().map(|(name, _)| name.as_str())).collect();
    known.sort_unstable();
    known.dedup();
    let entries = own.clone().find(|(own, _)| own == name).map(|(_, entries)| entries.clone());
    match entries.or_else(|| profiles::built_in(name)) {
        Some(entries) => Ok((name.to_owned(), entries)),
        None => {
            let problem = Problem::usage(format!("--profile: there is no profile {}", quoted(name)));
            Err(problem.hint(match file::nearest(name, known.iter().copied()) {
                Some(near) => format!("a similar one exists: {near}"),
                None => format!("there are {}", known.join(", ")),
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str, profile: Option<&str>, variable: fn(&str) -> Option<OsString>) -> Settings {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        let profile = profile.map(str::to_owned);
        Settings::load_from(&ConfigArgs { config: Some(path), no_config: false, profile }, variable).unwrap()
    }

    const UNSET: fn(&str) -> Option<OsString> = |_| None;

    #[test]
    fn a_flag_counts_before_the_environment_and_that_before_the_profile_and_that_before_the_file() {
        let text = "workers = 2\nchannel-depth = 2\nlevel = 2\nmemory = '2M'\n\
                    [profile.mine]\nworkers = 3\nchannel-depth = 3\nlevel = 3";
        let set = |name: &str| {
            let value = match name {
                "PIPELINE_WORKERS" => "4",
                "PIPELINE_CHANNEL_DEPTH" => "4",
                "ZSTD_CLEVEL" => "nonsense",
                _ => return None,
            };
            Some(value.into())
        };
        let settings = with(text, Some("mine"), set);
        assert_eq!(settings.get(&known::WORKERS, Some(5)).unwrap(), Some(5));
        assert_eq!(settings.get(&known::CHANNEL_DEPTH, None).unwrap(), Some(4));
        assert_eq!(settings.get(&known::LEVEL, None).unwrap().unwrap().get(), 3);
        assert_eq!(settings.get(&known::MEMORY, None).unwrap(), Some(2 << 20));
        assert_eq!(settings.get(&known::CHUNK_SIZE, None).unwrap(), None);
        assert_eq!(with(text, None, UNSET).get(&known::WORKERS, None).unwrap(), Some(2));
        let theirs = |name: &str| (name == "ZSTD_NBTHREADS").then(|| "7".into());
        assert_eq!(with(text, None, theirs).get(&known::WORKERS, None).unwrap(), Some(7));
    }

    #[test]
    fn a_bad_variable_is_named() {
        let set = |name: &str| (name == "PIPELINE_WORKERS").then(|| "many".into());
        let error = with("", None, set).get(&known::WORKERS, None).unwrap_err();
        assert_eq!(error.to_string(), "the environment variable PIPELINE_WORKERS: workers: 'many' is not a number");
    }

    #[test]
    fn what_is_shown_gives_the_same_again() {
        let text = "level = 7\n[profile.mine]\nidentities = ['/x', '/y']\nchunk-size = '1M'";
        let settings = with(text, Some("mine"), UNSET);
        let shown = settings.show(|known| (known.key == "workers").then(|| "0".to_owned())).unwrap();
        for line in ["level = 7", "chunk-size = \"1M\"", "identities = [\"/x\", \"/y\"]", "# workers = 0", "# memory"] {
            assert!(shown.lines().any(|shown| shown.starts_with(line)), "{line}: {shown}");
        }
        let again = with(&shown, Some("mine"), UNSET);
        assert_eq!(again.get(&known::CHUNK_SIZE, None).unwrap(), Some(1 << 20));
        assert_eq!(again.list("identities").unwrap().0, ["/x", "/y"]);
        assert_eq!(again.get(&known::WORKERS, None).unwrap(), None, "defaults are comments");
    }

    #[test]
    fn paths_begin_at_the_file_or_at_home() {
        let set = |name: &str| (name == "HOME").then(|| "/home/me".into());
        let settings = with("[profile.mine]\nidentities = ['~/key', 'key', '/key']", Some("mine"), set);
        let folder = settings.file.as_ref().unwrap().path.parent().unwrap().to_owned();
        assert_eq!(settings.paths("identities"), ["/home/me/key".into(), folder.join("key"), "/key".into()]);
    }
}
