//! What only one may have, a domain of a host or the data of an environment: whoever has it here keeps it.
//!
//! A push that names it a second time by mistake moves no visitor and splits no database: the newcomer is refused.

use std::collections::BTreeMap;

use crate::manifest::{Environment, HostEntry};
use crate::model::{Domain, EnvName};
use crate::plan::Want;
use crate::transaction::{self, Context, Failure, Phase};

/// Who has what on this host, and who of those that are listed asks for it.
pub(super) struct Claims<'a> {
    /// The domains of what serves here.
    serving: BTreeMap<EnvName, Vec<Domain>>,
    asking: Vec<&'a Environment>,
    entry: &'a HostEntry,
}

impl<'a> Claims<'a> {
    /// `asking`: all that are listed and sound.
    pub(super) fn find(
        cx: &Context<'_>,
        installed: &[EnvName],
        asking: Vec<&'a Environment>,
        entry: &'a HostEntry,
    ) -> Result<Self, Failure> {
        let mut serving = BTreeMap::new();
        for name in installed {
            let active = transaction::active(cx, name).map_err(Failure::on_host(Phase::Recover))?;
            if let Some(number) = active.filter(|&number| number > 0) {
                // What has lost its record, or has a newer one, is taken to serve what its file says.
                let generation = transaction::read_generation(cx, name, number).ok().flatten();
                let said = || asking.iter().find(|env| env.name == *name).map(|env| env.domains.clone());
                let domains = generation.map(|generation| generation.wanted.env.domains).or_else(said);
                serving.insert(name.clone(), domains.unwrap_or_default());
            }
        }
        Ok(Self { serving, asking, entry })
    }

    /// Why an environment can't have what it asks for.
    pub(super) fn refuse(&self, env: &Environment) -> Option<Want> {
        self.refuse_data(&env.name).or_else(|| env.domains.iter().find_map(|domain| self.refuse_domain(env, domain)))
    }

    fn refuse_data(&self, name: &EnvName) -> Option<Want> {
        let hosts = self.entry.split.get(name).filter(|_| !self.serving.contains_key(name))?;
        let files: Vec<String> = hosts.iter().map(|host| format!("hosts/{host}.toml")).collect();
        Some(Want::Unusable(format!(
            "{} name {name}, whose database is SQLite in data/: released here too, its data would be split; \
             it stays in one of them",
            files.join(" and ")
        )))
    }

    fn refuse_domain(&self, env: &Environment, domain: &Domain) -> Option<Want> {
        let holds = |name: &EnvName| self.serving.get(name).is_some_and(|domains| domains.contains(domain));
        if holds(&env.name) {
            return None;
        }
        if let Some(holder) = self.serving.keys().find(|name| holds(name)) {
            return Some(self.held(env, domain, holder));
        }
        let rival = self.asking.iter().find(|other| other.name != env.name && asks(other, domain))?;
        Some(Want::Unusable(format!(
            "projects/{}.toml and projects/{}.toml both name {domain}, and neither serves it here: \
             nobody gets it until it is removed from one",
            env.name, rival.name
        )))
    }

    /// Somebody else serves it; who lets go of it is waited for.
    fn held(&self, env: &Environment, domain: &Domain, holder: &EnvName) -> Want {
        let Some(asker) = self.asking.iter().find(|other| other.name == *holder) else {
            return Want::Unusable(format!(
                "{domain} is served by {holder} here, which this host's file does not name any more: it keeps it until it is off the \
                 host; `removed = true` in its file takes it off"
            ));
        };
        if asks(asker, domain) {
            return Want::Unusable(format!(
                "{domain} is served by {holder} here (projects/{holder}.toml), so it is not for projects/{}.toml: \
                 remove it from one",
                env.name
            ));
        }
        if self.serving.get(&env.name).is_some_and(|own| own.iter().any(|domain| asks(asker, domain))) {
            return Want::Unusable(format!(
                "{domain} is served by {holder} here, which waits for a domain of {}: neither lets go first; \
                 remove it from projects/{}.toml in one push, and add it in the next",
                env.name, env.name
            ));
        }
        Want::Later(format!("{domain} is served by {holder} until that is released without it"))
    }
}

fn asks(env: &Environment, domain: &Domain) -> bool {
    !env.removed && env.domains.contains(domain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> EnvName {
        EnvName::parse(text).unwrap()
    }

    fn domains(list: &[&str]) -> Vec<Domain> {
        list.iter().map(|text| Domain::parse(text).unwrap()).collect()
    }

    fn env(text: &str, list: &[&str]) -> Environment {
        Environment { name: name(text), domains: domains(list), ..crate::plan::wanted(&name("bakery/pro")).env }
    }

    /// What a host on which these serve these domains says to each of those that ask.
    fn said(serving: &[(&str, &[&str])], asking: &[Environment]) -> Vec<Option<Want>> {
        said_by(&HostEntry::default(), serving, asking)
    }

    fn said_by(entry: &HostEntry, serving: &[(&str, &[&str])], asking: &[Environment]) -> Vec<Option<Want>> {
        let serving = serving.iter().map(|(text, list)| (name(text), domains(list))).collect();
        let claims = Claims { serving, asking: asking.iter().collect(), entry };
        asking.iter().map(|env| claims.refuse(env)).collect()
    }

    const SHOP: &str = "shop.example";

    #[test]
    fn who_serves_a_domain_keeps_it_whatever_the_newcomers_name() {
        for newcomer in ["aaa/pro", "zzz/pro"] {
            let asking = [env(newcomer, &[SHOP]), env("bakery/pro", &[SHOP, "new.example"])];
            let said = said(&[("bakery/pro", &[SHOP])], &asking);
            let Some(Want::Unusable(words)) = &said[0] else { panic!("{said:?}") };
            for file in ["projects/bakery/pro.toml", &format!("projects/{newcomer}.toml")] {
                assert!(words.contains(file), "{words}");
            }
            assert_eq!(said[1], None, "it is released for its own changes");
        }
    }

    #[test]
    fn what_nobody_serves_nobody_gets_while_two_ask() {
        let asking = [env("aaa/pro", &[SHOP]), env("bakery/pro", &[SHOP])];
        let said = said(&[("bakery/pro", &["old.example"])], &asking);
        assert!(said.iter().all(|said| matches!(said, Some(Want::Unusable(_)))), "{said:?}");
    }

    /// As an older version may have left it: whichever nginx chose goes on, and each is released for its own changes.
    #[test]
    fn what_two_serve_keeps_neither_from_its_releases() {
        let serving: [(&str, &[&str]); 2] = [("aaa/pro", &[SHOP]), ("bakery/pro", &[SHOP])];
        assert_eq!(said(&serving, &[env("aaa/pro", &[SHOP]), env("bakery/pro", &[SHOP])]), [None, None]);
        assert_eq!(said(&serving, &[env("aaa/pro", &["a.example"]), env("bakery/pro", &[SHOP])]), [None, None]);
    }

    #[test]
    fn a_domain_moves_once_the_one_that_had_it_serves_without_it() {
        let asking = [env("aaa/pro", &[SHOP]), env("bakery/pro", &["b.example"])];
        let before = said(&[("bakery/pro", &[SHOP])], &asking);
        assert!(matches!(&before[0], Some(Want::Later(words)) if words.contains("bakery/pro")), "{before:?}");
        assert_eq!(before[1], None);
        assert_eq!(said(&[("bakery/pro", &["b.example"])], &asking), [None, None]);
        let removed = Environment { removed: true, ..env("bakery/pro", &[SHOP]) };
        assert!(matches!(
            said(&[("bakery/pro", &[SHOP])], &[env("aaa/pro", &[SHOP]), removed])[0],
            Some(Want::Later(_))
        ));
    }

    #[test]
    fn two_that_change_places_in_one_push_are_told_so() {
        let asking = [env("aaa/pro", &["b.example"]), env("bakery/pro", &["a.example"])];
        let said = said(&[("aaa/pro", &["a.example"]), ("bakery/pro", &["b.example"])], &asking);
        assert!(
            said.iter().all(|said| matches!(said, Some(Want::Unusable(words)) if words.contains("next"))),
            "{said:?}"
        );
    }

    #[test]
    fn who_is_no_longer_listed_keeps_what_it_serves() {
        let said = said(&[("gone/pro", &[SHOP])], &[env("aaa/pro", &[SHOP])]);
        assert!(matches!(&said[0], Some(Want::Unusable(words)) if words.contains("gone/pro")), "{said:?}");
    }

    #[test]
    fn data_stays_where_it_is_and_is_begun_nowhere_else() {
        let hosts = vec!["web1".to_owned(), "web2".to_owned()];
        let entry = HostEntry { split: [(name("bakery/pro"), hosts)].into(), ..HostEntry::default() };
        let asking = [env("bakery/pro", &[SHOP])];
        assert_eq!(said_by(&entry, &[("bakery/pro", &[SHOP])], &asking), [None]);
        let said = said_by(&entry, &[], &asking);
        let Some(Want::Unusable(words)) = &said[0] else { panic!("{said:?}") };
        assert!(words.contains("hosts/web1.toml and hosts/web2.toml"), "{words}");
    }
}
