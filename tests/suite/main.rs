//! The one integration-test binary: each area is a module, so that the large dependencies link once.

mod attention;
mod media;
mod tiny;
mod world;
mod shaders;
