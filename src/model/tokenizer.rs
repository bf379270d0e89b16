//! The tokenizer of a checkpoint: text to ids with byte ranges, and streaming text back. Knows nothing of chat templates.
