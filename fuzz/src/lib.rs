//! What the fuzz targets share: how an input becomes choices, valid files made of them, damage done to those, and the engine in
//! memory.
//!
//! A target takes the bytes of the fuzzer and claims something about them; a claim that does not hold is a panic. Nothing here is
//! part of pipeline, and nothing here knows how files are made but by pipeline's own encoders.

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
