//! `portreeve try`, which stays up after its story because it has a terminal.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::site::PROGRAM;

/// The tour; it ends with the value, and its servers with it.
pub struct Tour {
    script: Child,
    keyboard: ChildStdin,
    /// Its directory.
    pub directory: PathBuf,
    /// Where its nginx listens.
    pub port: u16,
}

impl Tour {
    /// Lives through the story, and goes on when everything is up.
    pub fn start(directory: &Path) -> Self {
        let directory = directory.canonicalize().unwrap().join("try");
        let line = format!("{PROGRAM} try {}", directory.display());
        let mut command = Command::new("script");
        command.args(["--quiet", "--flush", "--return", "--command", &line, "/dev/null"]);
        let mut script = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("script is installed");
        let keyboard = script.stdin.take().unwrap();
        let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        let up = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let port = line.split_once("still up: http://localhost:").and_then(|(_, port)| port.trim().parse().ok());
            said.push(line);
            port
        });
        // Nobody reads on, and the tour must not wait for that.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let port = up.unwrap_or_else(|| panic!("the tour is not up:\n{}", said.join("\n")));
        Self { script, keyboard, directory, port }
    }
}

impl Drop for Tour {
    /// Ctrl-C.
    fn drop(&mut self) {
        self.keyboard.write_all(b"\x03").ok();
        self.keyboard.flush().ok();
        self.script.wait().ok();
    }
}
