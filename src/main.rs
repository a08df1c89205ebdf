//! Entry point. Everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    hirl_scale::cli::main()
}
