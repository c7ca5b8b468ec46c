//! Compress and encrypt files in one parallel pass and bring them back, in standard formats only.
//!
//! The shape is fixed: a reader streams chunks into a bounded channel that N workers read; a single writer puts the results
//! back in order and writes them, without a mutex. One chunk of input becomes one zstd frame (RFC 8878); behind the last
//! frame stands a seek table (zstd seekable format 0.1.0), so that stock `zstd -d` reads the whole and `pipeline cat` any
//! part of it. With a key, that goes into an age v1 file: a second pool seals its segments. The way back opens segments, cuts any zstd
//! stream into frames and decodes them, on all cores.
//!
//! Three floors; what is above may use what is below, never the other way round, and a test holds the tree to it:
//!
//! - [`cli`]: words, paths, exit codes. Arguments as typed become a plan; files are opened and committed here.
//! - [`pipeline`]: moves items. Stages over bounded channels, tokens that bound what is in flight, a supervisor that keeps the
//!   first failure.
//! - [`mod@format`]: bytes in, values out. zstd: scanner, seek table, codec. age: header, segments, armor, keys.
//!
//! Start with [`pipeline::recipes`], which is the diagram above as code, then [`pipeline::stage`], the loops it runs in.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod cli;

pub mod pipeline;

pub mod format;
