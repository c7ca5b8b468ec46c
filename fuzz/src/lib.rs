//! Code that the fuzz targets share: choices from the input, valid files made from them, damage, and the engine in memory.
//!
//! A target takes the fuzzer's bytes and panics if one of its claims does not hold. This crate is no part of pipeline, and makes files
//! only with pipeline's own encoders.

pub mod choices;

pub mod content;

pub mod pieces;

pub mod damage;

pub mod seekable;

pub mod sealed;

pub mod engine;

pub mod reference;

pub mod panics;

pub mod identities;

pub mod journal;

pub mod memory;
