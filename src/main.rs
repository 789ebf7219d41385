//! Runs the program: nothing else.

fn main() -> std::process::ExitCode {
    qemu_spice::app::run()
}
