//! Tests of the formats that the pipeline reads and writes: zstd and age files, ranges, damage, salvage, and other
//! tools as readers and writers.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod age;
mod age_crate;
mod age_faults;
mod age_testkit;
mod damage_sealed;
mod fixtures;
mod interop;
mod range;
mod roundtrip;
mod salvage;

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/memory.rs"]
mod in_memory;
