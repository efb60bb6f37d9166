//! Who holds which ports: blocks of projects, and within them those of environments.

use std::collections::BTreeMap;

use crate::model::{EnvName, PortRange, ProjectName};

use super::candidate::{Candidate, Project, Projects};
use super::diagnostic::{Diagnostic, Diagnostics};
use super::document::{At, Spot};
use super::environment::Policy;
use super::fleet::PortPolicy;

/// Ports begin at a round ten, so that people see whose a port is.
const ROUND: u16 = 10;

struct Claim<'t> {
    range: PortRange,
    holder: String,
    /// Where a complaint about it stands.
    spot: Spot<'t>,
    by: By<'t>,
}

/// How a claim came about.
#[derive(Clone, Copy)]
enum By<'t> {
    /// `ports = …`
    Word,
    /// The environment's place in the project's block, which stands there.
    Default(Spot<'t>),
}

impl Claim<'_> {
    /// Whether the two can't both be had, and it is this one's own fault.
    fn hits(&self, other: &Self) -> bool {
        // Two blocks that overlap are said once, not again for each environment in them.
        let said_of_blocks = match (self.by, other.by) {
            (By::Default(block), By::Default(another)) => block.source.path != another.source.path,
            _ => false,
        };
        !said_of_blocks && self.range.overlaps(other.range)
    }

    fn claimed(&self) -> String {
        match self.by {
            By::Word => format!("first claimed in {}", self.spot.file_line()),
            By::Default(block) => format!("its place in the block of {}", block.file_line()),
        }
    }
}

/// The ports of each environment that may have what it asks for; complains about the others.
///
/// Candidates come in the order in which they may claim: whoever comes later is the one who is told.
pub(super) fn assign(
    policy: PortPolicy,
    projects: &Projects<'_>,
    candidates: &[Candidate<'_>],
    out: &mut Diagnostics,
) -> BTreeMap<EnvName, PortRange> {
    let blocks = blocks(policy, projects, out);
    let nobody = Project::default();
    let mut wanted: Vec<(&Candidate<'_>, Claim<'_>)> = Vec::new();
    let mut unsaid = Vec::new();
    for candidate in candidates {
        let project = projects.get(&candidate.name.project).unwrap_or(&nobody);
        match wish(policy, candidate, project, out) {
            Wish::Claim(claim) => wanted.push((candidate, claim)),
            Wish::Unsaid => unsaid.push((candidate, project)),
            Wish::Refused => {}
        }
    }
    for (candidate, project) in unsaid {
        let claims: Vec<_> = wanted.iter().map(|(_, claim)| claim).chain(foreign(&blocks, candidate)).collect();
        out.push(unsaid_ports(policy, candidate, project, &claims));
    }
    granted(policy, projects, &blocks, &wanted, out)
}

/// The blocks of the projects, in the order of their names.
fn blocks<'t>(policy: PortPolicy, projects: &Projects<'t>, out: &mut Diagnostics) -> Vec<(ProjectName, Claim<'t>)> {
    let all: Vec<(ProjectName, Claim<'t>)> = projects
        .iter()
        .filter_map(|(name, project)| {
            let ports = project.ports.as_ref()?;
            Some((name.clone(), Claim { range: ports.value, holder: name.to_string(), spot: ports.spot, by: By::Word }))
        })
        .collect();
    for (index, (_, claim)) in all.iter().enumerate() {
        let free = free(policy.pool, claim.range.len(), &all.iter().map(|(_, claim)| claim).collect::<Vec<_>>());
        bounds(claim, policy.pool, policy.per_project, "a project", "per_project", out);
        if let Some((_, first)) = all[..index].iter().find(|(_, first)| first.range.overlaps(claim.range)) {
            out.push(taken(claim, first, free));
        }
    }
    all
}

enum Wish<'t> {
    Claim(Claim<'t>),
    Unsaid,
    Refused,
}

/// What an environment asks for: its own `ports`, or the ten that its name has in the project's block.
fn wish<'t>(policy: PortPolicy, candidate: &Candidate<'t>, project: &Project<'t>, out: &mut Diagnostics) -> Wish<'t> {
    let holder = candidate.name.to_string();
    if let Some(own) = &candidate.layer.ports {
        return Wish::Claim(Claim { range: own.value, holder, spot: own.spot, by: By::Word });
    }
    let (Some(block), Some(standard)) = (&project.ports, candidate.standard()) else {
        return if candidate.is_spoiled("ports") { Wish::Refused } else { Wish::Unsaid };
    };
    if let Some(range) = nth(block.value, standard, policy.per_environment) {
        return Wish::Claim(Claim { range, holder, spot: candidate.source.start(), by: By::Default(block.spot) });
    }
    let complaint = block.spot.error(format!("the block is too small for {holder}"));
    out.push(complaint.label(block_needs(standard, policy)).concerning(candidate.concern()));
    Wish::Refused
}

fn nth(block: PortRange, standard: Policy, size: u32) -> Option<PortRange> {
    let first = u32::from(block.first) + size * place_in_block(standard);
    let range = range(first, size)?;
    block.contains(range).then_some(range)
}

fn place_in_block(standard: Policy) -> u32 {
    match standard {
        Policy::Pro => 0,
        Policy::Stage => 1,
        Policy::Dev => 2,
    }
}

fn block_needs(standard: Policy, policy: PortPolicy) -> String {
    format!(
        "at least {} ports, or `ports` in the environment's own file",
        policy.per_environment * (place_in_block(standard) + 1)
    )
}

fn range(first: u32, len: u32) -> Option<PortRange> {
    let last = u16::try_from(first.checked_add(len)?.checked_sub(1)?).ok()?;
    Some(PortRange { first: u16::try_from(first).ok()?, last })
}

fn unsaid_ports(
    policy: PortPolicy,
    candidate: &Candidate<'_>,
    project: &Project<'_>,
    claims: &[&Claim<'_>],
) -> Diagnostic {
    let within = project.ports.as_ref().map_or(policy.pool, |block| block.value);
    let complaint = candidate.missing(format!("no ports for {}", candidate.name));
    let complaint = match free(within, policy.per_environment, claims) {
        Some(free) => complaint.label(format!("write `ports = \"{free}\"` here")),
        None => complaint.label("write `ports = …` here"),
    };
    match (&project.ports, free(policy.pool, policy.per_project, claims)) {
        (None, Some(block)) => {
            let file = format!("projects/{}/project.toml", candidate.name.project);
            complaint.help(format!("or `ports = \"{block}\"` in {file}, and pro, stage and dev have theirs"))
        }
        _ => complaint,
    }
}

/// Blocks of other projects than the candidate's.
fn foreign<'a, 't>(
    blocks: &'a [(ProjectName, Claim<'t>)],
    candidate: &Candidate<'_>,
) -> impl Iterator<Item = &'a Claim<'t>> {
    let project = candidate.name.project.clone();
    blocks.iter().filter(move |(name, _)| *name != project).map(|(_, claim)| claim)
}

fn granted(
    policy: PortPolicy,
    projects: &Projects<'_>,
    blocks: &[(ProjectName, Claim<'_>)],
    wanted: &[(&Candidate<'_>, Claim<'_>)],
    out: &mut Diagnostics,
) -> BTreeMap<EnvName, PortRange> {
    let mut granted = BTreeMap::new();
    for (index, (candidate, claim)) in wanted.iter().enumerate() {
        if matches!(claim.by, By::Word) {
            bounds(claim, policy.pool, policy.per_environment, "an environment", "per_environment", out);
        }
        let own = projects.get(&candidate.name.project).and_then(|project| project.ports.as_ref());
        let claims = || wanted.iter().map(|(_, claim)| claim).chain(foreign(blocks, candidate)).collect::<Vec<_>>();
        let free = || free(own.map_or(policy.pool, |own| own.value), claim.range.len(), &claims());
        // Blocks were held against each other before.
        let others = foreign(blocks, candidate).filter(|_| own.is_none());
        if let Some(first) =
            wanted[..index].iter().map(|(_, first)| first).chain(others).find(|first| claim.hits(first))
        {
            out.push(taken(claim, first, free()).concerning(candidate.concern()));
        } else if let Some(own) = own.filter(|own| !own.value.contains(claim.range)) {
            out.push(outside(claim, &candidate.name.project, own, free()));
        }
        granted.insert(candidate.name.clone(), claim.range);
    }
    granted
}

fn outside(claim: &Claim<'_>, project: &ProjectName, own: &At<'_, PortRange>, free: Option<PortRange>) -> Diagnostic {
    let complaint = claim.spot.error(format!("ports {} are not of {project}'s block {}", claim.range, own.value));
    with_free(complaint.label(format!("the block stands in {}", own.spot.file_line())), free)
}

fn taken(claim: &Claim<'_>, first: &Claim<'_>, free: Option<PortRange>) -> Diagnostic {
    let complaint = if claim.range == first.range {
        claim.spot.error(format!("ports {} belong to {}", claim.range, first.holder))
    } else {
        claim.spot.error(format!("ports {} overlap {} of {}", claim.range, first.range, first.holder))
    };
    with_free(complaint.label(first.claimed()), free)
}

fn with_free(complaint: Diagnostic, free: Option<PortRange>) -> Diagnostic {
    match free {
        Some(free) => complaint.help(format!("the next free block is {free}")),
        None => complaint.help("no block of this size is free; widen `ports` in project.toml, or the pool"),
    }
}

/// What a range must be by itself.
fn bounds(claim: &Claim<'_>, pool: PortRange, most: u32, whose: &str, key: &str, out: &mut Diagnostics) {
    let Claim { range, spot, .. } = claim;
    if !range.first.is_multiple_of(ROUND) {
        let ten = range.first - range.first % ROUND;
        let complaint = spot.error(format!("ports {range} do not begin at a round ten"));
        out.push(complaint.label(format!("begin at {ten} or {}", u32::from(ten) + u32::from(ROUND))));
    }
    if !pool.contains(*range) {
        let complaint = spot.error(format!("ports {range} are not of the pool {pool}"));
        out.push(complaint.label("outside the pool").help("the pool is `pool` in portreeve.toml, below [ports]"));
    }
    if range.len() > most {
        let complaint = spot.error(format!("{} ports are too many for {whose}", range.len()));
        out.push(
            complaint
                .label(format!("at most {most}"))
                .help(format!("the limit is `{key}` in portreeve.toml, below [ports]")),
        );
    }
}

/// The lowest free range of `len` ports that begins at a round ten.
fn free(within: PortRange, len: u32, claims: &[&Claim<'_>]) -> Option<PortRange> {
    let mut first = u32::from(within.first).next_multiple_of(u32::from(ROUND));
    loop {
        let range = range(first, len).filter(|range| within.contains(*range))?;
        match claims.iter().filter(|claim| claim.range.overlaps(range)).map(|claim| claim.range.last).max() {
            None => return Some(range),
            Some(last) => first = (u32::from(last) + 1).next_multiple_of(u32::from(ROUND)),
        }
    }
}
