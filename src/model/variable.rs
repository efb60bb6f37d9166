//! Variables of an environment's processes that are ours to set.

const OURS: [&str; 9] = [
    "BASE_PORT",
    "DATABASE_URL",
    "DJANGO_SETTINGS_MODULE",
    "HOME",
    "PROJECT_PATH",
    "PYTHONPATH",
    "SECRET_KEY",
    "VIRTUALENV",
    "VIRTUAL_ENV",
];

/// Whether `[env]` may not set this variable: a release is refused when its effective values differ from ours.
pub fn is_ours(name: &str) -> bool {
    OURS.contains(&name) || name.starts_with("PORTREEVE_")
}
