//! A deploy repository with so many environments, an application's, and a host that follows them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where everything is.
pub struct Bench {
    /// The host.
    pub root: PathBuf,
    /// The deploy repository.
    pub deploy: PathBuf,
    /// The application's repository.
    pub app: PathBuf,
    /// Its commit.
    commit: String,
    /// Project names.
    pub projects: Vec<String>,
}

/// Makes all of it below `directory`.
pub fn make(directory: &Path, count: usize) -> Bench {
    let (root, deploy, app) = (directory.join("root"), directory.join("deploy"), directory.join("app"));
    write(&app.join("requirements.txt"), "gunicorn\n");
    let commit = commit(&app);
    let projects: Vec<String> = (0..count).map(|number| format!("p{number}")).collect();
    write(&deploy.join("portreeve.toml"), "schema = 1\n");
    let names: Vec<String> = projects.iter().map(|name| format!("\"{name}/pro\"")).collect();
    write(&deploy.join("hosts/bench.toml"), &format!("environments = [{}]\n", names.join(", ")));
    for (number, name) in projects.iter().enumerate() {
        let first = 49160 + 10 * number;
        let project = format!(
            "user = \"bench\"\nports = \"{first}-{}\"\n[source]\ngit = \"file://{}\"\n[web.gunicorn]\napp = \"x:app\"\n",
            first + 9,
            app.display()
        );
        write(&deploy.join(format!("projects/{name}/project.toml")), &project);
    }
    let agent = format!(
        "repo = \"file://{}\"\nbranch = \"main\"\nhost = \"bench\"\nmanager = \"supervisor\"\nallow_local_git = true\n",
        deploy.display()
    );
    write(&root.join("etc/portreeve/agent.toml"), &agent);
    for there in ["etc/nginx/sites-enabled", "etc/nginx/conf.d", "etc/logrotate.d", "etc/tmpfiles.d", "run", "home"] {
        fs::create_dir_all(root.join(there)).unwrap();
    }
    let bench = Bench { root, deploy, app, commit, projects };
    (0..count).for_each(|number| bench.wish(number, ""));
    bench.push();
    bench
}

impl Bench {
    /// What is wanted of an environment: a domain of its own beside `www.`
    fn wish(&self, number: usize, domain: &str) {
        let (name, commit) = (&self.projects[number], &self.commit);
        let health = "[health]\npath = \"/\"\nstatus = 204\npasses = 1\nbake = \"0s\"\n";
        let pro = format!("rev = \"{commit}\"\ndomains = [\"{name}.example\"{domain}]\n{health}");
        write(&self.deploy.join(format!("projects/{name}/pro.toml")), &pro);
    }

    fn push(&self) {
        self::commit(&self.deploy);
    }

    /// Pushes another domain for the last environment.
    pub fn push_domain(&self, round: usize) {
        let number = self.projects.len() - 1;
        self.wish(number, &format!(", \"www{round}.{}.example\"", self.projects[number]));
        self.push();
    }

    /// Pushes what is of no environment.
    pub fn push_words(&self, round: usize) {
        write(&self.deploy.join("README.md"), &round.to_string());
        self.push();
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn commit(tree: &Path) -> String {
    let git = |arguments: &[&str]| {
        let mut command = Command::new("/usr/bin/git");
        command.current_dir(tree).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
        command.args(["-c", "user.name=bench", "-c", "user.email=bench@example.org"]).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    git(&["init", "--quiet", "--initial-branch=main"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message=bench"]);
    git(&["rev-parse", "HEAD"])
}
