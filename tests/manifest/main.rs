//! Malformed deploy repositories: each mistake with its exact place, its words and its cure.

mod cases;
mod whole;

use portreeve::manifest::{Diagnostic, Diagnostics, Entry, Severity, Tree};

/// A repository in which nothing is wrong.
const SOUND: [(&str, &str); 4] = [
    ("portreeve.toml", "schema = 1\n"),
    ("hosts/web1.toml", "environments = [\"bakery/pro\"]\n"),
    (
        "projects/bakery/project.toml",
        "user = \"foouser\"\nports = \"60000-60049\"\n[source]\ngit = \"https://git.example.org/bakery.git\"\n\
         [web.gunicorn]\napp = \"bakery.wsgi:application\"\n[django]\nsettings = \"bakery.settings\"\n",
    ),
    ("projects/bakery/pro.toml", "rev = \"v1.4.2\"\ndomains = [\"bakery.example\"]\n[health]\npath = \"/healthz\"\n"),
];

fn sound() -> Tree {
    SOUND.into_iter().map(|(path, text)| (path, file(text))).collect()
}

fn file(text: &str) -> Entry {
    Entry::File(text.as_bytes().to_vec())
}

/// `path:line:column: error: message | label | help`
fn line(diagnostic: &Diagnostic) -> String {
    let severity = if diagnostic.severity == Severity::Error { "error" } else { "warning" };
    let mut line = format!(
        "{}:{}:{}: {severity}: {}",
        diagnostic.file,
        diagnostic.line(),
        diagnostic.column(),
        diagnostic.message
    );
    for more in [&diagnostic.label, &diagnostic.help] {
        line.push_str(" | ");
        line.push_str(more.as_deref().unwrap_or("-"));
    }
    line
}

fn lines(diagnostics: &Diagnostics) -> Vec<String> {
    diagnostics.iter().map(line).collect()
}
