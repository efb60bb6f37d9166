//! Keys of the contract that a later version reads: known, and refused. Ignoring them would promise what isn't kept.

use super::reader::Keys;

const TLS: &str = "remove it; until then terminate TLS in front of this host";
const TABLES: [(&str, &str); 6] = [
    ("redis", "remove it, and name a Redis of your own in [settings]"),
    ("memcached", "remove it, and name a memcached of your own in [settings]"),
    ("workers", "remove it; run workers as a unit of your own until then"),
    ("jobs", "remove it; run jobs from a timer of your own until then"),
    ("backup", "remove it; back up data/ and media/ by other means until then"),
    ("secrets", "remove it; secrets other than SECRET_KEY are not kept yet"),
];
const DATABASE: &str = "remove it, and the database is SQLite in data/";

/// The web processes that are known, and of no use yet.
pub(super) const WEB: [&str; 5] = ["web.uwsgi", "web.asgi", "web.command", "web.compose", "web.static"];

/// Whether a key is known, and of no use yet.
pub(super) fn is_later(key: &str) -> bool {
    ["tls", "postgres", "uwsgi", "asgi", "command", "compose", "static", "basic_auth", "redirects"].contains(&key)
        || TABLES.iter().any(|(name, _)| *name == key)
}

/// `[tls]`, `[database]` and the tables of their kind.
pub(super) fn top_level(keys: &mut Keys<'_, '_>) {
    for (key, cure) in TABLES {
        // `workers = 3` is a key that lost its table, not a table.
        if keys.holds_table(key) {
            refuse(keys, key, cure);
        }
    }
    let _ = keys.table("tls", |keys| {
        for key in ["acme", "certbot", "self_signed", "files"] {
            refuse(keys, key, TLS);
        }
    });
    let _ = keys.table("database", |keys| {
        refuse(keys, "postgres", DATABASE);
        let _ = keys.section("sqlite", |_| ());
    });
}

/// `[web.X]` other than gunicorn.
pub(super) fn web(keys: &mut Keys<'_, '_>) {
    for key in ["uwsgi", "asgi", "command", "compose", "static"] {
        refuse(keys, key, "use [web.gunicorn]");
    }
}

/// Keys of `[nginx]`.
pub(super) fn nginx(keys: &mut Keys<'_, '_>) {
    for key in ["basic_auth", "redirects"] {
        refuse(keys, key, "remove it, and put it into /etc/portreeve/local/ENV/nginx.d/ on the host");
    }
}

fn refuse(keys: &mut Keys<'_, '_>, key: &'static str, cure: &str) {
    let Some(raw) = keys.raw(key) else { return };
    let name = keys.full_name(key);
    let spot = keys.key_spot(key).unwrap_or(raw.spot);
    let shown = if raw.value.is_table() { format!("[{name}]") } else { name };
    let version = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
    keys.out.push(spot.error(format!("`{shown}` is not in portreeve {version} yet")).label(cure));
}
