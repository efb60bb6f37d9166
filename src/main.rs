//! The command `portreeve`: arguments in, exit code out.

fn main() -> std::process::ExitCode {
    portreeve::cli::main()
}
