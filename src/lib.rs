//! Modalens shows which sense drove a multimodal model's answer.

pub mod app;
pub mod capture;
pub mod cli;
pub mod clip;
pub mod command;
pub mod engine;
pub mod event;
pub mod export;
pub mod frame;
pub mod gpu;
pub mod heatmap;
pub mod lens;
pub mod media;
pub mod model;
pub mod prompt;
pub mod provenance;
pub mod sampled;
pub mod settings;
pub mod state;
pub mod time;
pub mod tune;
pub mod ui;
pub mod verify;
pub mod world;
