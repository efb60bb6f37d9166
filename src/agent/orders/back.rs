//! Going back: to which generation, what must not come back by itself, and the hold.

use std::collections::BTreeSet;

use super::{Order, OrderError, Ordered, Target};
use crate::agent::read_last_pass;
use crate::desired::{Generation, Why};
use crate::model::{Digest, EnvName, Found, GenerationNumber};
use crate::policy::{Hold, HoldKind, Standing, Until};
use crate::transaction::{self, Context, Event, Failure, Going, Intent, Released};

/// The open transaction whose release the order leads away from: whoever leaves it need not wait for its verdict, unless that is
/// known already and has only to be remembered.
pub(super) fn left(cx: &Context<'_>, name: &EnvName, order: &Order) -> Result<Option<Intent>, Failure> {
    let Order::Rollback { to, .. } = order else { return Ok(None) };
    if !transaction::committed(cx, name)? {
        return Ok(None);
    }
    let Some(intent) = Intent::find(cx, name)?.filter(|intent| intent.failed.is_none()) else { return Ok(None) };
    let serves = transaction::read_generation(cx, name, intent.to)?;
    Ok((!serves.is_some_and(|generation| is(&generation, to))).then_some(intent))
}

impl Ordered<'_> {
    /// The hold is durable before anything moves: a pass that begins right after must not go forward again.
    pub(super) fn rollback(&self, to: &Target, until: Until) -> Result<String, OrderError> {
        let serving = self.serving()?;
        let to = &self.meant(to)?;
        if is(serving, to) || *to == Target::Previous && self.has_gone_back() {
            return self.stay(until);
        }
        let target = self.target(to)?;
        transaction::permit_return(self.cx, serving, &target, self.installed.newest)?;
        self.refuse_given_away(serving, &target)?;
        let until = self.lasting(until)?;
        let excludes = self.excluded(&target)?;
        let (pinned, left) = (target.number, Some(self.serving()?.wanted.title()));
        let hold = self.hold(HoldKind::RolledBack { pinned, excludes, until, left });
        let to = target.wanted.digest;
        let goes_on = effective(&target) > effective(serving);
        let after = if goes_on { self.standing.gone_on(hold, to) } else { self.standing.rolled_back(hold, to) };
        let order = transaction::Ordered { before: self.standing.clone(), after, met: self.left.clone() };
        let going = if transaction::fits(&self.installed, &target) {
            Going::Back(Box::new(target.clone()))
        } else {
            Going::Forward { wanted: Box::new(target.wanted.clone()), why: Why::Rollback(target.number) }
        };
        match transaction::go_by_order(self.cx, &self.installed, &going, &order) {
            Released::Kept { .. } => Ok(format!("{} serves again; later passes leave it there", target.wanted.title())),
            Released::Open(failure) => Err(OrderError::Failed(*failure)),
            Released::Refused { number, mut failure, seen } => {
                self.failed(number, &target.wanted, &failure, seen);
                failure.cause = format!("{}; {} serves on", failure.cause, self.serving()?.wanted.title());
                Err(OrderError::Failed(*failure))
            }
        }
    }

    /// Digits are a generation's number, unless only a tag or a commit is called so.
    fn meant(&self, to: &Target) -> Result<Target, OrderError> {
        let Target::Digits(number, text) = to else { return Ok(to.clone()) };
        let title = Target::Title(text.clone());
        let numbered = transaction::read_generation(self.cx, self.name, *number)?;
        let titled = is(self.serving()?, &title) || self.target(&title).is_ok();
        match numbered {
            Some(generation) if titled && !is(&generation, &title) => Err(OrderError::Refused(format!(
                "{text} means two: generation {text}, which ran {}, and a tag or commit that another generation ran; \
                 portreeve history {} lists both, and the whole commit, or the other's tag, means one",
                generation.wanted.title(),
                self.name
            ))),
            None if titled => Ok(title),
            _ => Ok(Target::Generation(*number)),
        }
    }

    /// A domain that moved to another environment since would be both's, and nginx would go by the order of their names.
    fn refuse_given_away(&self, serving: &Generation, target: &Generation) -> Result<(), OrderError> {
        let domains = |generation: &Generation| generation.wanted.env.domains.clone();
        let mut back = domains(target);
        back.retain(|domain| !serving.wanted.env.domains.contains(domain));
        for name in transaction::installed_names(self.cx)?.into_iter().filter(|name| name != self.name) {
            let Some(number) = transaction::active(self.cx, &name)?.filter(|&number| number > 0) else { continue };
            let theirs =
                transaction::read_generation(self.cx, &name, number)?.as_ref().map(domains).unwrap_or_default();
            if let Some(domain) = back.iter().find(|domain| theirs.contains(domain)) {
                return Err(OrderError::Refused(format!(
                    "{domain} is served by {name} now; take it out of projects/{name}.toml, and go back when that is released"
                )));
            }
        }
        Ok(())
    }

    /// What served, what was tried since, and what waits for its time or its host: none of it may come by itself.
    fn excluded(&self, target: &Generation) -> Result<BTreeSet<Digest>, OrderError> {
        let mut excluded: BTreeSet<Digest> = self.standing.quarantine.iter().map(|entry| entry.digest).collect();
        excluded.insert(self.serving()?.wanted.digest);
        excluded.extend(self.met.as_ref().and_then(|met| met.intent.digest));
        excluded.extend(self.standing.retry.as_ref().map(|waiting| waiting.digest));
        excluded.extend(self.wanted_last());
        excluded.remove(&target.wanted.digest);
        Ok(excluded)
    }

    /// Whether the release that the order met had been switched to, and has been gone back from meanwhile: whoever wanted to go
    /// back from it does not want to go back twice.
    fn has_gone_back(&self) -> bool {
        let serving = self.installed.generation.as_ref().map(|generation| generation.number);
        self.met.as_ref().is_some_and(|met| met.served && Some(met.intent.from) == serving)
    }

    /// Where nothing is known yet that could be told from what is wanted later, for the first pass of this program is to come, every
    /// content would seem new: what was left would be back within a minute.
    fn lasting(&self, until: Until) -> Result<Until, OrderError> {
        if self.serving()?.wanted.is_comparable() || self.wanted_last().is_some() || until == Until::Resume {
            return Ok(until);
        }
        let text = format!(
            "what {} wants is not known to this version yet, so that nothing pushed ends this: portreeve resume {} does",
            self.name, self.name
        );
        self.cx.report.event(&Event::Note { text: &text });
        Ok(Until::Resume)
    }

    fn stay(&self, until: Until) -> Result<String, OrderError> {
        let (serving, until) = (self.serving()?, self.lasting(until)?);
        let (pinned, excludes, left) = (serving.number, self.excluded(serving)?, self.left_behind()?);
        let hold = self.hold(HoldKind::RolledBack { pinned, excludes, until, left });
        let after = self.standing.rolled_back(hold, serving.wanted.digest);
        if until == Until::Change && !self.keeps_away(&after) {
            return Err(OrderError::Refused(format!(
                "{} serves already, and nothing else is wanted that could be kept away; --until-resume holds it whatever is \
                 pushed, or portreeve suspend {} for a time",
                serving.wanted.title(),
                self.name
            )));
        }
        self.write(&after)?;
        Ok(format!("{} serves already; later passes leave it there", serving.wanted.title()))
    }

    /// Whether what is wanted is excluded, as far as it is known: an order that lasts until other content is wanted has ended
    /// otherwise.
    fn keeps_away(&self, after: &Standing) -> bool {
        let excludes: BTreeSet<&Digest> = after.holds().flat_map(Hold::excludes).collect();
        let wanted = self.wanted_last();
        let met = self.met.as_ref().and_then(|met| met.intent.digest);
        let unknown = wanted.is_none() && !excludes.is_empty();
        unknown || wanted.iter().chain(&met).any(|wanted| excludes.contains(wanted))
    }

    pub(super) fn wanted_last(&self) -> Option<Digest> {
        read_last_pass(self.cx).environments.get(self.name).and_then(|seen| seen.digest)
    }

    /// What people call the release that the order met, and that has been gone back from.
    fn left_behind(&self) -> Result<Option<String>, OrderError> {
        let Some(met) = &self.met else { return Ok(None) };
        let left = transaction::read_generation(self.cx, self.name, met.intent.to)?;
        Ok(left.map(|generation| generation.wanted.title()))
    }

    fn target(&self, to: &Target) -> Result<Generation, OrderError> {
        let serving = self.serving()?;
        let numbers = (1..=self.installed.newest).rev().filter(|&number| number != serving.number);
        for number in numbers {
            let Some(generation) = transaction::read_generation(self.cx, self.name, number)? else { continue };
            let refused = transaction::was_refused(self.cx, self.name, number)?;
            let fits = match to {
                Target::Previous => {
                    let left = self.standing.left.contains(&generation.wanted.digest);
                    !refused && !left && served_before(&generation, serving)
                }
                Target::Generation(_) => is(&generation, to),
                Target::Title(_) | Target::Digits(..) => !refused && is(&generation, to),
            };
            if fits {
                return Ok(generation);
            }
        }
        Err(OrderError::NoTarget(self.missing(to)?, self.name.clone()))
    }

    fn missing(&self, to: &Target) -> Result<String, OrderError> {
        Ok(match to {
            Target::Previous => "there is no earlier release on this host".to_owned(),
            Target::Generation(number) => {
                let directory = self.cx.layout.generation(self.name, *number);
                match self.cx.host.files().look(&directory)? {
                    Found::Absent => format!("generation {number} is not on this host"),
                    _ => format!("{} is damaged or gone", directory.join(Generation::FILE).display()),
                }
            }
            Target::Title(title) | Target::Digits(_, title) => format!("no generation of {title} is on this host"),
        })
    }
}

/// Whether a person who names it means this one.
fn is(generation: &Generation, to: &Target) -> bool {
    match to {
        Target::Previous => false,
        Target::Generation(number) => generation.number == *number,
        Target::Digits(number, _) if generation.number == *number => true,
        Target::Title(title) | Target::Digits(_, title) => {
            let is_commit = || title.len() >= 7 && generation.wanted.commit.as_str().starts_with(title);
            generation.wanted.title() == *title || is_commit()
        }
    }
}

/// A generation that went before and ran something else.
fn served_before(generation: &Generation, serving: &Generation) -> bool {
    generation.number < effective(serving) && !generation.wanted.runs_the_same_as(&serving.wanted)
}

/// When it was released first: what was made to go back to another counts as that one.
fn effective(generation: &Generation) -> GenerationNumber {
    if let Why::Rollback(number) = generation.why { number } else { generation.number }
}
