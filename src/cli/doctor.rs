//! temporary
use crate::cli::Outcome;
use anyhow::Result;
/// a
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}
pub fn run(_args: &Args) -> Result<Outcome> {
    Ok(Outcome::Fine)
}
