//! One input, one operation, one output.

pub mod keys;

pub mod layers;

pub mod wrap;

pub mod rekey;

pub mod salvage;

pub mod verify_output;
