//! What is read out of a running model: captured attention rows and attribution. Knows nothing of media or
//! windows.

pub mod courier;
pub mod recorder;
