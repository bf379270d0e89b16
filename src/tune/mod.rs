//! Training: the bundled model and adapters. Knows nothing of windows.
