//! FFmpeg and cpal: probing, decoding, sampling, playing and encoding media. Knows nothing of models or windows.
