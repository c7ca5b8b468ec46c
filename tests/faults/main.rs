//! Tests of faults outside of the program: failing system calls, kills, power cuts, full disks, too little memory.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod disks;
mod kills;
mod leases;
mod limits;
mod memory;
mod power;
mod replacing;
mod safety;
mod sources;
mod system_calls;

#[path = "../support/mod.rs"]
mod support;
