//! The `modalens` binary: hands over to the command line.

fn main() -> std::process::ExitCode {
    modalens::cli::main()
}
