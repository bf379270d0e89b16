//! The panels of the window, one file each. Reads the state, returns commands; knows nothing of media, models or the engine.
