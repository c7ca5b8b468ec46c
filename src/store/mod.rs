//! Where bytes live: files and their atomic publication, standard streams, commands; and the system calls that this takes.
//!
//! Nothing here knows a format. Errors are values ([`error`]); words for people are written above.

pub mod error;

pub mod name;

pub mod file_id;

pub mod input;

pub mod output;

pub mod producer;

pub mod digest;

pub mod rate_limit;

pub mod prompt;

pub mod sys;
