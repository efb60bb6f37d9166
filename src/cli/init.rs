//! `portreeve init DIR`: a new deploy repository from the template.

use super::args::InitArgs;
use super::{Fault, printer};
use crate::host::Scratch;

macro_rules! template {
    ($($file:literal),* $(,)?) => {
        /// The files of `deploy-repo-template/`.
        pub(super) const TEMPLATE: &[(&str, &str)] =
            &[$(($file, include_str!(concat!("../../deploy-repo-template/", $file)))),*];
    };
}

template!(
    "README.md",
    "portreeve.toml",
    "hosts/web1.toml",
    "projects/bakery/project.toml",
    "projects/bakery/dev.toml",
    "projects/bakery/stage.toml",
    "projects/bakery/pro.toml",
);

/// Writes the template into a directory that is new or empty.
pub fn run(args: &InitArgs) -> Result<u8, Fault> {
    let failed = |error| Fault::failed(&error);
    let directory = Scratch::open(&args.dir).map_err(failed)?;
    if directory.names().map_err(failed)?.iter().any(|name| name != ".git") {
        let help = "name a new directory, or copy the files you want from one";
        return Err(Fault::usage(format!("{} is not empty; nothing was written", args.dir.display())).with_help(help));
    }
    for (file, text) in TEMPLATE {
        directory.write(file, text).map_err(failed)?;
    }
    printer::line(format!(
        "{}: a deploy repository, {} files; README.md says the rest",
        args.dir.display(),
        TEMPLATE.len()
    ));
    printer::line(format!(
        "next: put your project in the place of bakery's, then: portreeve check {}",
        args.dir.display()
    ));
    Ok(0)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test looks at what was written")]
mod tests {
    use super::*;

    #[test]
    fn the_template_is_written_whole_and_over_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let args = InitArgs { dir: dir.path().join("deploy") };
        std::fs::create_dir_all(args.dir.join(".git")).unwrap();
        assert_eq!(run(&args).unwrap(), 0);
        let pro = std::fs::read_to_string(args.dir.join("projects/bakery/pro.toml")).unwrap();
        assert!(pro.contains("rev ="));
        let fault = run(&args).unwrap_err();
        assert_eq!((fault.code, fault.message.contains("is not empty")), (2, true));
    }

    #[test]
    fn no_file_of_the_template_is_forgotten() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy-repo-template");
        let mut found = Vec::new();
        let mut left = vec![root.clone()];
        while let Some(directory) = left.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { left.push(path) } else { found.push(path.strip_prefix(&root).unwrap().to_owned()) }
            }
        }
        found.sort();
        let mut embedded: Vec<_> = TEMPLATE.iter().map(|(file, _)| std::path::PathBuf::from(file)).collect();
        embedded.sort();
        assert_eq!(embedded, found);
    }
}
