//! The inference thread and the one that lays out words: requests in, token events out, with reuse and cancellation.
//! Knows nothing of windows.

pub mod device;
mod encode;
pub mod fit;
pub mod mailbox;
pub mod options;
pub mod reuse;
pub mod sampler;
pub mod session;
pub mod trouble;
pub mod words;
pub mod worker;

pub use device::DeviceChoice;
pub use fit::HoldChoice;
pub use options::LoadOptions;
pub use session::Session;
pub use words::Words;
pub use worker::Engine;
