//! What leaves the machine to tell somebody something: mail, and HTTP to an address of the manifest. One attempt, bounded.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::{Address, SmtpTransport, Transport as _};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::tool;
use crate::model::{MailAddress, SecretUrl};

/// For one message or request, all of it.
const DEADLINE: Duration = Duration::from_secs(5);
/// The sendmail(8) of whatever mail system is there.
const SENDMAIL: [&str; 2] = ["/usr/sbin/sendmail", "/usr/lib/sendmail"];
/// The port of the mail system on this machine.
const SMTP: u16 = 25;

/// A mail in plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// To whom.
    pub to: MailAddress,
    /// Its own name, the same at each attempt; letters, digits and `-._`.
    pub id: String,
    /// Its subject, on one line.
    pub subject: String,
    /// Its text.
    pub text: String,
}

/// Ways to tell somebody outside. One attempt, of a few seconds at most; an error says why in a few words, without the secret
/// part of an address.
pub trait Post: Sync {
    /// Hands a mail to this machine's mail system.
    fn mail(&self, mail: &Mail) -> std::result::Result<(), String>;
    /// Sends a GET request, or POSTs JSON; anything but 2xx is an error.
    fn ask(&self, url: &SecretUrl, json: Option<&[u8]>) -> std::result::Result<(), String>;
}

/// The real way out: sendmail(8) where there is one, else SMTP to this machine; HTTP with the system's certificates.
#[derive(Debug)]
pub struct RealPost {
    sendmail: Option<PathBuf>,
    smtp: u16,
    host: String,
}

impl RealPost {
    /// As this machine is; mail comes from root at its name.
    pub fn new() -> Self {
        let sendmail = SENDMAIL.iter().map(PathBuf::from).find(|path| path.exists());
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { sendmail, smtp: SMTP, host }
    }

    fn message(&self, mail: &Mail) -> Result<lettre::Message, String> {
        let mailbox = |address: &str| address.parse::<Address>().map_err(|error| format!("{address}: {error}"));
        let from = mailbox(&format!("root@{}", self.host)).or_else(|_| mailbox("root@localhost"))?;
        let mut message = lettre::Message::builder()
            .from(Mailbox::new(Some("Portreeve".to_owned()), from))
            .to(Mailbox::new(None, mailbox(mail.to.as_str())?))
            .subject(&mail.subject)
            .message_id(Some(format!("<{}@{}>", mail.id, self.host)))
            .header(ContentType::TEXT_PLAIN)
            .body(mail.text.clone())
            .map_err(|error| error.to_string())?;
        // RFC 3834: holiday notices are not sent back.
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        message.headers_mut().insert_raw(HeaderValue::new(automatic, "auto-generated".to_owned()));
        Ok(message)
    }
}

impl Default for RealPost {
    fn default() -> Self {
        Self::new()
    }
}

impl Post for RealPost {
    fn mail(&self, mail: &Mail) -> Result<(), String> {
        let message = self.message(mail)?;
        let Some(sendmail) = &self.sendmail else { return smtp(self.smtp, &message) };
        // -t: recipients are those of the header; -i: a line with a dot alone does not end the message.
        let output =
            tool::fed(sendmail, ["-t", "-i"], message.formatted(), DEADLINE).map_err(|error| error.to_string())?;
        if output.status.success() {
            return Ok(());
        }
        let said = tool::last_lines(&[output.stdout, output.stderr].concat(), 1).join("");
        let code = output.status.code().map_or_else(|| "a signal".to_owned(), |code| code.to_string());
        Err(format!("{} ended with {code}: {said}", sendmail.display()))
    }

    fn ask(&self, url: &SecretUrl, json: Option<&[u8]>) -> Result<(), String> {
        let agent = agent(url)?;
        let answer = match json {
            Some(body) => agent.post(url.expose()).content_type("application/json").send(body),
            None => agent.get(url.expose()).call(),
        };
        match answer {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(format!("answered {}", answer.status().as_u16())),
            Err(error) => Err(reason(&error).replace(url.expose(), &url.to_string())),
        }
    }
}

fn smtp(port: u16, message: &lettre::Message) -> Result<(), String> {
    let transport = SmtpTransport::builder_dangerous("localhost").port(port).timeout(Some(DEADLINE)).build();
    transport
        .send(message)
        .map(drop)
        .map_err(|error| format!("no sendmail here, and localhost:{port}: {}", cause(&error)))
}

/// Redirects are not followed: whoever sends us elsewhere would be told the token.
fn agent(url: &SecretUrl) -> Result<ureq::Agent, String> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(DEADLINE))
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .user_agent(concat!("portreeve/", env!("CARGO_PKG_VERSION")));
    let config = if url.expose().starts_with("https:") { config.tls_config(tls()?) } else { config };
    Ok(config.build().new_agent())
}

/// The certificates that this machine trusts, its own authorities among them.
fn tls() -> Result<TlsConfig, String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err("this machine trusts no certificates: apt-get install ca-certificates".to_owned());
    }
    let roots = found.certs.iter().map(|cert| Certificate::from_der(cert).to_owned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots.collect())))
        .unversioned_rustls_crypto_provider(provider)
        .build())
}

fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Timeout(_) => format!("no answer within {}", super::http::words(DEADLINE)),
        ureq::Error::HostNotFound => "no such host".to_owned(),
        ureq::Error::Io(error) => cause(error),
        error => cause(error),
    }
}

/// An error's own words and those of its causes, on one line, each once.
fn cause(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !words.contains(&more) {
            words = format!("{words}: {more}");
        }
        source = error.source();
    }
    words.chars().filter(|c| !c.is_control()).take(300).collect()
}

/// A machine that nothing leaves.
#[derive(Debug, Clone, Copy)]
pub struct Nowhere;

impl Post for Nowhere {
    fn mail(&self, mail: &Mail) -> Result<(), String> {
        Err(format!("nothing leaves this machine, not even to {}", mail.to))
    }

    fn ask(&self, url: &SecretUrl, _: Option<&[u8]>) -> Result<(), String> {
        Err(format!("nothing leaves this machine, not even to {url}"))
    }
}

#[cfg(test)]
#[path = "post_tests.rs"]
mod tests;
