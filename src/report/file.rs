//! Report files: refused if they are IN, OUT or another report's file, and opened before the run.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::options::ReportOptions;
use super::say;
use crate::pipeline::kind::Kind;
use crate::store::error::StoreError;
use crate::store::name::quoted;
use crate::store::output::{Output, OutputOptions, Place, patient_writer};
use crate::store::sys::{self, WakeUp};

/// A file that the command reads or writes.
#[derive(Clone, Copy, Debug)]
pub enum ReservedPath<'a> {
    /// A file that is read, with its name in messages; `-` is standard input.
    In(&'static str, &'a Path),
    /// A file that is written; `-` is standard output.
    Out(&'a Path),
}

impl ReservedPath<'_> {
    fn name(&self) -> &'static str {
        match self {
            ReservedPath::In(name, _) => name,
            ReservedPath::Out(_) => "OUT",
        }
    }

    fn place(&self) -> Option<Place> {
        let (path, standard): (_, fn() -> io::Result<File>) = match self {
            ReservedPath::In(_, path) => (path, sys::stdin),
            ReservedPath::Out(path) => (path, sys::stdout),
        };
        match path.as_os_str() == "-" {
            // If the standard stream is closed, opening it later reports that.
            true => Place::of_open(&standard().ok()?.metadata().ok()?),
            false => Place::of(path),
        }
    }
}

/// Why a report cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A report may not go to standard output.
    #[error("{0} wants a file: standard output is for data")]
    StandardOutput(&'static str),
    /// A report that is a whole file may not go where messages go.
    #[error("{flag} cannot be {path}: that is where standard error leads")]
    StandardError {
        /// The flag that names the file.
        flag: &'static str,
        /// The path, quoted.
        path: String,
    },
    /// The run uses the file for something else.
    #[error("{flag} cannot be {path}: that is {other}")]
    ReservedPath {
        /// The flag that names the file.
        flag: &'static str,
        /// The path, quoted.
        path: String,
        /// The other use of the file.
        other: String,
    },
    /// The file cannot be prepared.
    #[error("{flag}")]
    Prepare {
        /// The flag that names the file.
        flag: &'static str,
        /// The cause.
        #[source]
        source: StoreError,
    },
    /// The file cannot be written.
    #[error("cannot write {flag} to {path}")]
    Write {
        /// The flag that names the file.
        flag: &'static str,
        /// The path, quoted.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file cannot be renamed.
    #[error("cannot write {flag} to {path}")]
    Publish {
        /// The flag that names the file.
        flag: &'static str,
        /// The path, quoted.
        path: String,
        /// The cause.
        #[source]
        source: StoreError,
    },
}

impl ReportError {
    /// The kind of this error.
    pub fn kind(&self) -> Kind {
        match self {
            ReportError::StandardOutput(_) | ReportError::StandardError { .. } | ReportError::ReservedPath { .. } => {
                Kind::Usage
            }
            ReportError::Prepare { source, .. } | ReportError::Publish { source, .. } => source.kind(),
            ReportError::Write { source, .. } => Kind::of_io(source, Kind::Write),
        }
    }
}

/// Names of standard error. Opening its file again by name would truncate it.
fn stderr_place() -> Option<Place> {
    Place::of_open(&sys::stderr().ok()?.metadata().ok()?)
}

/// Refuses report files that are the same file as one in `taken`, or as each other.
pub fn refuse_shared(options: &ReportOptions, taken: &[ReservedPath<'_>]) -> Result<(), ReportError> {
    let mut known: Vec<(&str, Place)> = taken.iter().filter_map(|taken| Some((taken.name(), taken.place()?))).collect();
    let asked =
        [("--stats-file", &options.stats_file), ("--prometheus", &options.prometheus), ("--hdr-log", &options.hdr_log)];
    for (flag, path) in asked {
        let Some(path) = path else { continue };
        if path.as_os_str() == OsStr::new("-") {
            return Err(ReportError::StandardOutput(flag));
        }
        let Some(place) = Place::of(path) else { continue };
        if Some(&place) == stderr_place().as_ref() && flag != "--stats-file" {
            return Err(ReportError::StandardError { flag, path: quoted(path) });
        }
        if let Some((other, _)) = known.iter().find(|(_, known)| *known == place) {
            return Err(ReportError::ReservedPath { flag, path: quoted(path), other: (*other).to_owned() });
        }
        known.push((flag, place));
    }
    Ok(())
}

/// Many times the length of the largest metrics report.
const OLD_BYTES_MAX: u64 = 1 << 20;

/// A file for a report. Dropping it before it is written leaves an existing file unchanged.
pub struct ReportFile {
    flag: &'static str,
    path: PathBuf,
    target: Target,
}

enum Target {
    /// Written in place; `is_new` if this run created it.
    Opened { file: File, is_new: bool },
    /// Replaced at once: readers see it absent, old, or complete.
    Replaced(Output),
    /// Standard error.
    Stderr,
}

impl ReportFile {
    /// Opens the file that `flag` names, or creates it.
    pub fn open(flag: &'static str, path: &Path) -> Result<ReportFile, ReportError> {
        if Place::of(path).is_some_and(|place| Some(place) == stderr_place()) {
            return Ok(ReportFile { flag, path: path.to_owned(), target: Target::Stderr });
        }
        let is_new = std::fs::symlink_metadata(path).is_err();
        let file =
            sys::open_to_write(path).map_err(|source| ReportError::Write { flag, path: quoted(path), source })?;
        Ok(ReportFile { flag, path: path.to_owned(), target: Target::Opened { file, is_new } })
    }

    /// Prepares a file that replaces the one that `flag` names when it is written. Anything but a regular file is written in place. It is not
    /// synced: after a power cut the next run writes it again.
    pub fn replaced(flag: &'static str, path: &Path, umask: u32) -> Result<ReportFile, ReportError> {
        if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return ReportFile::open(flag, path);
        }
        let output_options = OutputOptions { force: true, sync: false, umask };
        let output =
            Output::prepare(path, &[], output_options).map_err(|source| ReportError::Prepare { flag, source })?;
        Ok(ReportFile { flag, path: path.to_owned(), target: Target::Replaced(output) })
    }

    /// The old content, up to the length of a report; empty if it cannot be read.
    pub fn old_text(&self) -> String {
        let mut text = String::new();
        if let Target::Replaced(_) = self.target {
            let read = File::open(&self.path).and_then(|file| file.take(OLD_BYTES_MAX).read_to_string(&mut text));
            // A file that is not UTF-8 is not an old report.
            read.unwrap_or_default();
        }
        text
    }

    /// Writes `bytes` as the whole content.
    pub fn write(mut self, bytes: &[u8]) -> Result<(), ReportError> {
        let (flag, path) = (self.flag, quoted(&self.path));
        let failed = |source| ReportError::Write { flag, path: path.clone(), source };
        let publish = |source| ReportError::Publish { flag, path: path.clone(), source };
        match &mut self.target {
            Target::Opened { file, is_new } => {
                // A pipe or a device cannot be truncated and has no old content.
                let cut = file.set_len(0).or(Ok(()));
                let wake = WakeUp::new().map_err(failed)?;
                cut.and_then(|()| patient_writer(file, &wake)?.write_all(bytes)).map_err(failed)?;
                *is_new = false;
            }
            Target::Stderr => say::tell(&String::from_utf8_lossy(bytes)),
            Target::Replaced(output) => {
                let wake = WakeUp::new().map_err(failed)?;
                output.writer(&wake).map_err(publish)?.write_all(bytes).map_err(failed)?;
                output.commit(None, || false).map_err(publish)?;
            }
        }
        Ok(())
    }
}

impl Drop for ReportFile {
    fn drop(&mut self) {
        if let Target::Opened { is_new: true, .. } = self.target {
            // Removes the empty report of a failed run; if that fails, it does no harm.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
