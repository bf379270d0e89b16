//! The inference thread: requests in, token events out, with reuse and cancellation. Knows nothing of windows.

pub mod device;
pub mod fit;
pub mod mailbox;
pub mod options;
pub mod reuse;
pub mod sampler;
pub mod session;
pub mod trouble;
pub mod worker;

pub use device::DeviceChoice;
pub use fit::HoldChoice;
pub use options::LoadOptions;
pub use session::Session;
pub use worker::Engine;
