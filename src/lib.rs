//! Compresses and encrypts files in one parallel pass and restores them, in standard formats only.
//!
//! # As a library
//!
//! A [`Plan`] says what to do; [`run`] does it between a reader and a writer, on all cores, in memory that does not grow with the input:
//!
//! ```
//! use pipeline::{Level, Plan, Recipient, run};
//!
//! let key = age::x25519::Identity::generate();
//! let recipient = Recipient::parse(&key.to_public().to_string())?;
//! let plan = Plan::compress_and_encrypt(Level::DEFAULT, [recipient]);
//! let (report, file) = run(&plan, &b"any reader"[..], Vec::new())?;
//! println!("{} bytes became {}", report.read_bytes, file.len());
//!
//! let back = Plan::restore([pipeline::Identity::X25519(key)]);
//! let (_, content) = run(&back, std::io::Cursor::new(file), Vec::new())?;
//! assert_eq!(content, b"any reader");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The default feature `cli` adds the program; without it none of its dependencies are built. The items listed below are the library; other
//! modules are public for the program, tests and benches here, and change without notice.
//!
//! # How it is built
//!
//! A reader streams chunks into a bounded channel that N workers read; a single writer puts the results back in order and writes them,
//! without a mutex. One chunk of input becomes one zstd frame (RFC 8878); a seek table (zstd seekable format 0.1.0) follows the last
//! frame, so stock `zstd -d` reads the whole and `pipeline cat` any part of it. With a key, all of that goes into an age v1 file, whose
//! segments a second pool seals. A restore opens segments, splits any zstd stream into frames and decodes them, on all cores.
//!
//! Eight floors, from the ground up; each uses only those below it, which a test checks:
//!
//! - `format`: parsers and encoders. zstd: scanner, seek table, codec. age: header, segments, armor, keys.
//! - `pipeline`: the engine that moves items. Stages over bounded channels, tokens that bound items in flight, a supervisor that keeps
//!   the first failure.
//! - `store`: files and their atomic publication, standard streams, a command; system calls.
//! - `task`: one input, one operation, one output.
//! - `batch`: many files on one machine, with a journal.
//! - `report`: the result of a run or a batch as text, JSON, metrics, a log; exit codes.
//! - `bench`: comparisons with other settings and other tools, and the tuner.
//! - `cli`: arguments, settings, messages.
//!
//! Beside them, `library` is the engine for other programs: a reader, a writer, no files.
//!
//! Start with `pipeline/recipes.rs`, which is the design above as code, then `pipeline/stage.rs`, the loops it runs in.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;

#[cfg(feature = "cli")]
mod bench;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod report;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod batch;

#[doc(hidden)]
pub mod task;

#[doc(hidden)]
pub mod store;

mod library;

#[doc(hidden)]
pub mod pipeline;

#[doc(hidden)]
pub mod format;

pub use format::age::keys::{Identity, KeyError, Recipient};
pub use format::zstd::codec::Level;
pub use library::{Plan, run};
pub use pipeline::error::{Cause, Failure};
pub use pipeline::report::Report;
pub use pipeline::write::Summary;
