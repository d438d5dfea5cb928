//! The `shutterbug` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    shutterbug::cli::main()
}
