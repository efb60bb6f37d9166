//! `[notify]`: who is told of a change of state, on every host of the fleet.

use crate::model::{AddressError, MailAddress, SecretUrl};

use super::diagnostic::Concern;
use super::reader::Keys;

/// Who is told of a change of state.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notify {
    /// By mail.
    pub email: Option<MailAddress>,
    /// A URL that is posted to.
    pub webhook: Option<SecretUrl>,
    /// A URL that is asked after each good pass.
    pub heartbeat: Option<SecretUrl>,
}

impl Notify {
    /// Nobody is told of anything.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Reads the table.
pub(super) fn read(keys: &mut Keys<'_, '_>) -> Notify {
    Notify {
        email: address(keys, "email", MailAddress::parse),
        webhook: address(keys, "webhook", SecretUrl::parse),
        heartbeat: address(keys, "heartbeat", SecretUrl::parse),
    }
}

/// A wrong address is an error, and no environment's: what can't be told does not keep anything from being released. It is not
/// repeated in the message, because it may be a secret.
fn address<T>(keys: &mut Keys<'_, '_>, key: &'static str, parse: fn(&str) -> Result<T, AddressError>) -> Option<T> {
    let text = keys.text(key)?;
    let refused = |rule: AddressError| {
        let complaint = text.spot.error(format!("`notify.{key}` is no address that can be sent to"));
        keys.out.push(complaint.label(rule.to_string()).concerning(Concern::Nothing));
    };
    parse(text.value).map_err(refused).ok()
}
