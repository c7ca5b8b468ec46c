//! Files and their atomic publication, standard streams, commands, and the system calls for them.
//!
//! Nothing here knows a format. Errors are typed ([`error`]); upper layers write the messages.

pub mod error;

pub mod name;

pub mod file_id;

pub mod access;

pub mod attributes;

pub mod input;

mod holes;

pub mod output;

pub mod producer;

pub mod reserved;

pub mod digest;

pub mod rate_limit;

pub mod prompt;

pub mod sys;
