//! Report files: refused if the run uses them for something else or they hold something else, and opened before the run.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::options::ReportOptions;
use super::say;
use crate::pipeline::kind::Kind;
use crate::store::error::{Doing, StoreError};
use crate::store::name::quoted;
use crate::store::output::{Origin, Output, OutputOptions, Place, patient_writer};
use crate::store::reserved::ReservedPath;
use crate::store::sys::{self, WakeUp};

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
    /// The file exists and is not an earlier report.
    #[error("{flag} cannot be {path}: it exists, and is no earlier report")]
    Foreign {
        /// The flag that names the file.
        flag: &'static str,
        /// The path, quoted.
        path: String,
    },
    /// The path is a link to a file, or to nothing.
    #[error("{flag} cannot be {path}: it is a symbolic link")]
    Link {
        /// The flag that names the file.
        flag: &'static str,
        /// The path, quoted.
        path: String,
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
            ReportError::StandardOutput(_)
            | ReportError::StandardError { .. }
            | ReportError::ReservedPath { .. }
            | ReportError::Foreign { .. }
            | ReportError::Link { .. } => Kind::Usage,
            ReportError::Prepare { source, .. } | ReportError::Publish { source, .. } => source.kind(),
            ReportError::Write { source, .. } => Kind::of_io(source, Kind::Write),
        }
    }
}

/// Names of standard error. Opening its file again by name would truncate it.
fn stderr_place() -> Option<Place> {
    Place::of_open(&sys::stderr().ok()?.metadata().ok()?)
}

/// Directories whose links are descriptors of this process.
const DESCRIPTORS: [&str; 2] = ["/dev/fd", "/proc/self/fd"];

/// Links to descriptors of this process.
const STANDARD_STREAMS: [&str; 3] = ["/dev/stdin", "/dev/stdout", "/dev/stderr"];

/// How a report of each flag begins. The text of `--stats-file` begins with the operation in the past, its JSON with the first field.
const BEGINNINGS: [(&str, &[&str]); 3] = [
    (
        "--stats-file",
        &["{\"batch\":", "{\"command\":", "processed: ", "restored: ", "verified: ", "read: ", "rekeyed: "],
    ),
    ("--prometheus", &["# HELP pipeline_"]),
    ("--hdr-log", &["#[Logged with pipeline]"]),
];

/// Refuses a file with other content than an earlier report of `flag`, unless `force`, and a link that does not lead to a FIFO, a device or a
/// descriptor: what is written through it would be elsewhere than the name says.
fn refuse_foreign(flag: &'static str, path: &Path, force: bool) -> Result<(), ReportError> {
    let is_descriptor = DESCRIPTORS.iter().any(|folder| path.parent() == Some(Path::new(folder)))
        || STANDARD_STREAMS.iter().any(|name| path == Path::new(name));
    let is_file = std::fs::metadata(path).map(|metadata| metadata.is_file());
    if is_descriptor || is_file.as_ref().is_ok_and(|is_file| !is_file) {
        return Ok(());
    }
    if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        return Err(ReportError::Link { flag, path: quoted(path) });
    }
    if force || is_file.is_err() {
        return Ok(());
    }
    let mut head = Vec::new();
    let prepare = |error| ReportError::Prepare { flag, source: Doing::Read.failed(&quoted(path))(error) };
    let file = sys::open_to_read(path, None).map_err(prepare)?;
    file.take(BEGINNING_LEN_MAX).read_to_end(&mut head).map_err(prepare)?;
    let known = BEGINNINGS.iter().find(|(name, _)| *name == flag).map_or(&[][..], |(_, known)| known);
    match head.is_empty() || known.iter().any(|beginning| head.starts_with(beginning.as_bytes())) {
        true => Ok(()),
        false => Err(ReportError::Foreign { flag, path: quoted(path) }),
    }
}

/// Longer than every beginning.
const BEGINNING_LEN_MAX: u64 = 64;

/// Refuses report files that are the same file as one in `taken`, or as each other, or hold something else.
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
        refuse_foreign(flag, path, options.force)?;
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
    Replaced(Box<Output>),
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
        Ok(ReportFile { flag, path: path.to_owned(), target: Target::Replaced(Box::new(output)) })
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
                output.commit(&Origin::default(), || false).map_err(publish)?;
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
