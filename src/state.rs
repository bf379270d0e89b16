//! Everything the window shows, and the one function that changes it.
