//! Where bytes live: files and their atomic publication, standard streams, commands; and the system calls that this takes.

pub mod file_id;

pub mod input;

pub mod output;

pub mod producer;

pub mod digest;

pub mod rate_limit;

pub mod prompt;

pub mod sys;
