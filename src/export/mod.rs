//! Overlay video, report and figures written to disk. Knows nothing of windows.
