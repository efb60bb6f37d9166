//! What one layer says, key by key, and how a later layer is laid over an earlier one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::model::{Domain, PortRange, Span, UserName};

use super::document::{At, Spot};
use super::environment::{Literal, Migrations, Policy, Rev};

/// A later layer over an earlier one.
pub(super) trait Over: Sized {
    /// What the two say together: this, and below it `base`.
    #[must_use]
    fn over(self, base: Self) -> Self;
}

/// A table that may be said, unsaid, or taken away.
#[derive(Debug, Clone, Default)]
pub(super) enum Section<T> {
    /// This layer doesn't mention it.
    #[default]
    Unsaid,
    /// `enabled = false`
    Off,
    /// It has these keys.
    On(T),
}

impl<T> Section<T> {
    /// The table, unless it is absent or taken away.
    pub fn on(self) -> Option<T> {
        match self {
            Self::On(table) => Some(table),
            Self::Unsaid | Self::Off => None,
        }
    }
}

impl<T: Over> Over for Section<T> {
    fn over(self, base: Self) -> Self {
        match (self, base) {
            (Self::Unsaid, base) => base,
            (Self::On(table), Self::On(base)) => Self::On(table.over(base)),
            (said, _) => said,
        }
    }
}

/// Scalars and arrays replace.
impl<T> Over for Option<At<'_, T>> {
    fn over(self, base: Self) -> Self {
        self.or(base)
    }
}

impl Over for Option<Spot<'_>> {
    fn over(self, base: Self) -> Self {
        self.or(base)
    }
}

impl<T: Over> Over for BTreeMap<String, T> {
    fn over(self, mut base: Self) -> Self {
        for (key, value) in self {
            let value = match base.remove(&key) {
                Some(below) => value.over(below),
                None => value,
            };
            base.insert(key, value);
        }
        base
    }
}

impl Over for BTreeSet<&'static str> {
    fn over(self, base: Self) -> Self {
        &self | &base
    }
}

impl Over for String {
    fn over(self, _: Self) -> Self {
        self
    }
}

impl Over for Literal {
    fn over(self, base: Self) -> Self {
        match (self, base) {
            (Self::Table(table), Self::Table(base)) => Self::Table(table.over(base)),
            (said, _) => said,
        }
    }
}

impl<T: Over> Over for At<'_, T> {
    fn over(self, base: Self) -> Self {
        Self { value: self.value.over(base.value), spot: self.spot }
    }
}

macro_rules! layers {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Default)]
        pub(super) struct $name<'t> {
            $(pub $field: $type,)*
        }

        impl Over for $name<'_> {
            fn over(self, base: Self) -> Self {
                Self { $($field: self.$field.over(base.$field),)* }
            }
        }
    )*};
}

type Said<'t, T> = Option<At<'t, T>>;

layers! {
    /// What a layer may say of an environment.
    Layer {
        // Keys that were said, and wrongly: they aren't missing as well.
        spoiled: BTreeSet<&'static str>,
        rev: Said<'t, Rev>,
        domains: Said<'t, Vec<At<'t, Domain>>>,
        ports: Said<'t, PortRange>,
        user: Said<'t, UserName>,
        removed: Said<'t, bool>,
        like: Said<'t, Policy>,
        base_dir: Said<'t, PathBuf>,
        keep_releases: Said<'t, u32>,
        warm: Said<'t, Span>,
        git: Said<'t, String>,
        python_version: Said<'t, String>,
        requirements: Said<'t, PathBuf>,
        gunicorn: Section<GunicornLayer<'t>>,
        django: Section<DjangoLayer<'t>>,
        health: Section<HealthLayer<'t>>,
        nginx: Section<NginxLayer<'t>>,
        logs: Section<LogsLayer<'t>>,
        settings: BTreeMap<String, At<'t, Literal>>,
        env: BTreeMap<String, At<'t, String>>,
    }
    /// `[web.gunicorn]`
    GunicornLayer {
        header: Option<Spot<'t>>,
        app: Said<'t, String>,
        workers: Said<'t, u32>,
        threads: Said<'t, u32>,
        timeout: Said<'t, Span>,
        graceful_timeout: Said<'t, Span>,
        max_requests: Said<'t, u32>,
    }
    /// `[django]`
    DjangoLayer {
        header: Option<Spot<'t>>,
        settings: Said<'t, String>,
        dir: Said<'t, PathBuf>,
        debug: Said<'t, bool>,
        compilemessages: Said<'t, bool>,
        collectstatic: Said<'t, bool>,
        migrate: Said<'t, Migrations>,
    }
    /// `[health]`
    HealthLayer {
        path: Said<'t, String>,
        status: Said<'t, u16>,
        timeout: Said<'t, Span>,
        deadline: Said<'t, Span>,
        passes: Said<'t, u32>,
        bake: Said<'t, Span>,
    }
    /// `[nginx]`
    NginxLayer {
        max_body: Said<'t, u64>,
        headers: BTreeMap<String, At<'t, String>>,
    }
    /// `[logs]`
    LogsLayer {
        max_size: Said<'t, u64>,
        keep: Said<'t, u32>,
    }
}
