//! Entry point. Everything else is in the library.

fn main() -> std::process::ExitCode {
    hirl_scale::cli::main()
}
