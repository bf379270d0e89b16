//! The one integration-test binary: each area is a module, so that the large dependencies link once.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod alignment;
mod architecture;
mod attention;
mod bounds;
mod bundled;
mod checkpoint;
mod colour;
mod engine;
mod exports;
mod film;
mod formats;
mod hdr;
mod hub;
mod instrument;
mod keys;
mod lengths;
mod media;
mod mutation;
mod picker;
mod player;
mod processor;
mod saw;
mod shaders;
mod sound;
mod spectrum;
mod tiny;
mod tracks;
mod tune;
mod ui;
mod verify;
mod world;
