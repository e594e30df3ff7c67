//! The `bulkhead` program.

fn main() -> std::process::ExitCode {
    bulkhead::main()
}
