//! Side by side on one file: engines, workers, depths, levels, and the tools that others use today.
//!
//! Every case is a whole process, or a pipe of them, started anew, so that ours and theirs are measured alike. A round runs each case
//! once, and the next round begins with another case, so that whatever drifts on the machine hits all of them. What counts is the
//! median over the rounds, and of a ratio the median of the ratios within a round.

pub mod cases;

pub mod measure;

pub mod runner;

pub mod results;

pub mod table;

pub mod plots;

pub mod page;

pub mod tune;

pub mod trials;
