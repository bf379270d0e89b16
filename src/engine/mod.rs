//! The inference thread: requests in, token events out, with reuse and cancellation. Knows nothing of windows.
