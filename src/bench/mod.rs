//! `pipeline bench`: compares engines, workers, channel depths, levels and other tools on one file.
//!
//! Each case is a process or a pipe of processes, started anew, so that pipeline and its peers are measured alike. A round runs each
//! case once, and each round starts with another case, so that drift of the machine affects all cases. A result is the median over the
//! rounds; a ratio is the median of the ratios within each round.

pub mod cases;

pub mod measure;

pub mod runner;

pub mod results;

pub mod table;

pub mod plots;

pub mod page;

pub mod tune;

pub mod trials;
