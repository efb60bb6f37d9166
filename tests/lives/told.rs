//! What a test counted: shown with it, and once more at the end of all tests.

use std::io::Write as _;

/// Tells it.
#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "whoever runs all tests asks for it")]
pub fn told(line: &str) {
    println!("{line}");
    let Some(file) = std::env::var_os("PORTREEVE_TALLY") else { return };
    let file = std::fs::OpenOptions::new().append(true).open(file);
    file.and_then(|mut file| writeln!(file, "{line}")).expect("the tally is written");
}
