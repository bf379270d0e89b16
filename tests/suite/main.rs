//! The one integration-test binary: each area is a module, so that the large dependencies link once.

mod architecture;
mod attention;
mod checkpoint;
mod engine;
mod media;
mod shaders;
mod tiny;
mod tune;
mod verify;
mod world;
