//! Compares engines, workers, depths, levels and other tools side by side on one file.
//!
//! Every case is a new process, or a pipe of processes, so that this program and its peers are measured alike. A round runs each case once,
//! and each round begins with another case, so that drift of the machine affects all of them. The result is the median over the rounds;
//! for a ratio, the median of the ratios within a round.

pub mod cases;

pub mod measure;

pub mod runner;

pub mod results;

pub mod table;

pub mod plots;

pub mod page;

pub mod tune;

pub mod trials;
