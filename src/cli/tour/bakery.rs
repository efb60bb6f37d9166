//! The site: a small, real Django application, and its three versions.

use super::TourError;
use super::git::Repository;
use super::place::Place;

macro_rules! site {
    ($($file:literal),* $(,)?) => {
        /// All of its files.
        const SITE: &[(&str, &str)] = &[$(($file, include_str!(concat!("../../../tests/bakery/", $file)))),*];
    };
}

site!(
    ".gitignore",
    "bakery/__init__.py",
    "bakery/asgi.py",
    "bakery/middleware.py",
    "bakery/settings.py",
    "bakery/urls.py",
    "bakery/witness.py",
    "bakery/wsgi.py",
    "manage.py",
    "requirements.txt",
    "shop/__init__.py",
    "shop/apps.py",
    "shop/locale/it/LC_MESSAGES/django.po",
    "shop/migrations/0001_initial.py",
    "shop/migrations/__init__.py",
    "shop/models.py",
    "shop/static/shop/bakery.css",
    "shop/templates/shop/index.html",
    "shop/views.py",
);

/// Where the site says which release it is; it answers with it in every response.
const RELEASE: &str = "bakery/__init__.py";
const WSGI: &str = "bakery/wsgi.py";

/// The module that v3 imports and nobody has.
pub(super) const MISSING: &str = "breda";

/// The repository with the tags v1 to v4; v3 can't be imported, and v4 is its cure, for whoever tries on.
pub(super) fn create(place: &Place) -> Result<Repository<'_>, TourError> {
    let repository = Repository::create(place, "bakery")?;
    for (file, text) in SITE {
        repository.write(file, text)?;
    }
    release(&repository, "v1", "bread")?;
    release(&repository, "v2", "cake")?;
    let wsgi = SITE.iter().find(|(file, _)| *file == WSGI).map_or("", |(_, text)| text);
    repository.write(WSGI, format!("{wsgi}\nimport {MISSING}\n"))?;
    release(&repository, "v3", "biscuits, with a misspelled import")?;
    repository.write(WSGI, wsgi)?;
    release(&repository, "v4", "biscuits")?;
    repository.push()?;
    Ok(repository)
}

fn release(repository: &Repository<'_>, tag: &str, message: &str) -> Result<(), TourError> {
    repository.write(RELEASE, format!("RELEASE = \"{tag}\"\n"))?;
    repository.commit(&format!("{tag}: {message}"))?;
    repository.tag(tag)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test asks git")]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::*;

    #[test]
    fn no_file_of_the_site_is_forgotten() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let listed = Command::new("git").args(["ls-files", "tests/bakery"]).current_dir(root).output().unwrap();
        if listed.stdout.is_empty() {
            return; // not a clone
        }
        let text = String::from_utf8(listed.stdout).unwrap();
        let tracked: Vec<PathBuf> =
            text.lines().map(|line| Path::new(line).strip_prefix("tests/bakery").unwrap().to_owned()).collect();
        let embedded: Vec<PathBuf> = SITE.iter().map(|(file, _)| PathBuf::from(file)).collect();
        assert_eq!(embedded, tracked);
    }

    #[test]
    fn each_version_says_which_it_is_and_the_third_is_broken() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::take(dir.path(), std::sync::Arc::default()).unwrap();
        let repository = create(&place).unwrap();
        let show = |what: &str| {
            let mut git = Command::new("git");
            git.args(["-c", "safe.directory=*", "--git-dir", &repository.address(), "show", what]);
            String::from_utf8(git.output().unwrap().stdout).unwrap()
        };
        for tag in ["v1", "v2", "v3", "v4"] {
            assert_eq!(show(&format!("{tag}:{RELEASE}")), format!("RELEASE = \"{tag}\"\n"));
            assert_eq!(show(&format!("{tag}:{WSGI}")).contains("import breda"), tag == "v3");
        }
    }
}
