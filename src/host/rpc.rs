//! Calls to Supervisor's XML-RPC server (<http://supervisord.org/api.html>) over its socket.

use std::path::PathBuf;
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use tokio::runtime::Runtime;

use super::http::{self, Body, Exchange, NoAnswer, Reply};
use super::xmlrpc::{self, Refusal, Value};
use super::{HostError, Result, Target};

/// A list of 2000 programs takes 2.5 MB.
const LIMIT: usize = 8 * 1024 * 1024;

/// Supervisor's refusals that mean something to us (`supervisor/xmlrpc.py`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// No such program.
    BadName,
    /// It ended before it was called started.
    AbnormalTermination,
    /// It could not be spawned.
    SpawnError,
    /// It runs already.
    AlreadyStarted,
    /// It does not run.
    NotRunning,
    /// Its group is there already.
    AlreadyAdded,
}

impl Fault {
    fn of(code: i64) -> Option<Self> {
        Some(match code {
            10 => Self::BadName,
            40 => Self::AbnormalTermination,
            50 => Self::SpawnError,
            60 => Self::AlreadyStarted,
            70 => Self::NotRunning,
            90 => Self::AlreadyAdded,
            _ => return None,
        })
    }
}

/// The server.
#[derive(Debug)]
pub(super) struct Client {
    runtime: Runtime,
    socket: Target,
}

impl Client {
    /// The server behind this socket. Nothing is opened before the first call.
    pub(super) fn new(socket: PathBuf) -> Result<Self> {
        Ok(Self { runtime: http::runtime()?, socket: Target::Socket(socket) })
    }

    /// Calls `supervisor.<method>`. The inner error is one of the refusals that callers deal with; any other is an error.
    pub(super) fn call(
        &self,
        method: &str,
        params: &[Value],
        deadline: Duration,
    ) -> Result<std::result::Result<Value, Fault>> {
        let body = xmlrpc::call(&format!("supervisor.{method}"), params);
        let text = self.post(body, deadline)?;
        match xmlrpc::answer(&text) {
            Ok(value) => Ok(Ok(value)),
            Err(refusal) => known(&refusal).map(Err).ok_or_else(|| refused(&format!("{method}: {refusal}"))),
        }
    }

    /// Waits.
    pub(super) fn pause(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    fn post(&self, body: String, deadline: Duration) -> Result<String> {
        let request = Request::post("/RPC2")
            .header("Host", "localhost")
            .header("Connection", "close")
            .header("Content-Type", "text/xml")
            .body(Full::from(body))
            .map_err(|error| refused(&error.to_string()))?;
        let exchange = Exchange { target: &self.socket, request, limit: LIMIT, deadline };
        let reply = self.runtime.block_on(http::exchange(exchange)).map_err(|why| self.unreachable(&why))?;
        text_of(reply)
    }

    fn unreachable(&self, why: &NoAnswer) -> HostError {
        let Target::Socket(socket) = &self.socket else { return refused(&why.to_string()) };
        let cure = match why {
            NoAnswer::NoSocket | NoAnswer::Refused => "; is supervisord running?",
            _ => "",
        };
        refused(&format!("{}: {why}{cure}", socket.display()))
    }
}

/// For whatever went wrong with Supervisor.
pub(super) fn refused(why: &str) -> HostError {
    HostError::Service { manager: "supervisor", why: why.to_owned() }
}

fn known(refusal: &Refusal) -> Option<Fault> {
    match refusal {
        Refusal::Fault { code, .. } => Fault::of(*code),
        Refusal::Syntax(_) => None,
    }
}

fn text_of(reply: Reply) -> Result<String> {
    match reply.head.status.as_u16() {
        200 => {}
        401 => {
            return Err(refused(
                "its socket asks for a password; remove username and password from [unix_http_server]",
            ));
        }
        status => return Err(refused(&format!("its server answered {status}; see supervisord's own log"))),
    }
    match reply.body {
        Body::Whole(bytes) => String::from_utf8(bytes).map_err(|_| refused("its answer is no UTF-8")),
        Body::Beginning(_) => Err(refused("its answer is longer than 8 MiB")),
    }
}
