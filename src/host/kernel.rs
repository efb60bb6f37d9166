//! The kernel's tables, from `/proc`.
#![expect(clippy::disallowed_methods, reason = "this is where /proc is read")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};

use super::{Authority, HostError, Kernel, Listener, Result};

/// State of a listening socket in `/proc/net/tcp` (`TCP_LISTEN`).
const LISTEN: &str = "0A";

/// Bytes of a table with a hundred connections; larger ones are read too.
const TABLE: usize = 16 * 1024;

/// Every other port, with its comma: no value of [`RESERVED`] is longer.
const LONGEST: usize = 256 * 1024;

/// What the kernel uses when it says nothing else (`ip(7)`).
const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// Ports that the kernel does not hand out by itself.
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Processors that are switched on, `0-3,5`.
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// The real kernel.
#[derive(Debug, Clone, Copy)]
pub struct RealKernel {
    authority: Authority,
}

impl RealKernel {
    /// The kernel, to be changed by root of a whole machine only.
    pub fn new(authority: Authority) -> Self {
        Self { authority }
    }
}

impl Kernel for RealKernel {
    fn random(&self, bytes: usize) -> Result<Vec<u8>> {
        let mut random = vec![0; bytes];
        let mut filled = 0;
        while filled < bytes {
            let more = rustix::rand::getrandom(&mut random[filled..], rustix::rand::GetRandomFlags::empty());
            filled += more.map_err(|error| HostError::at("read", "/dev/urandom")(error.into()))?;
        }
        Ok(random)
    }

    fn listeners(&self) -> Result<Vec<Listener>> {
        let mut sockets = listening()?;
        sockets.sort_unstable_by_key(|socket| socket.port);
        // Walking all processes' files takes milliseconds, so not when there is nothing to ask.
        let owners = if sockets.is_empty() { BTreeMap::new() } else { owners(Path::new("/proc")) };
        Ok(sockets.iter().map(|socket| listener(socket, &owners)).collect())
    }

    fn ephemeral_ports(&self) -> Result<(u16, u16)> {
        let text = read(EPHEMERAL)?;
        parse_range(&text).ok_or_else(|| HostError::Unsafe {
            path: PathBuf::from(EPHEMERAL),
            why: format!("`{}` is not a range of ports", text.trim()),
        })
    }

    fn reserved_ports(&self) -> Result<String> {
        read_at_once(RESERVED)
    }

    fn reserve_ports(&self, value: &str) -> Result<()> {
        if self.authority != Authority::Machine {
            let why = "the kernel is changed by root on a whole machine only".to_owned();
            return Err(HostError::Unsafe { path: PathBuf::from(RESERVED), why });
        }
        std::fs::write(RESERVED, format!("{value}\n")).map_err(HostError::at("write", RESERVED))
    }

    fn processors(&self) -> u32 {
        std::fs::read_to_string(ONLINE).ok().and_then(|ranges| count(&ranges)).unwrap_or(1)
    }

    fn hostname(&self) -> Result<String> {
        Ok(rustix::system::uname().nodename().to_string_lossy().into_owned())
    }
}

/// A line of `/proc/net/tcp` that listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Socket {
    port: u16,
    uid: u32,
    inode: u64,
}

/// Of both address families, side by side: for each the kernel goes through its table of all connections, which is as large as
/// its memory allows (`tcp_hashinfo`), however few they are.
fn listening() -> Result<Vec<Socket>> {
    let read = |table: &str| read_table(Path::new(table)).map(|text| parse_table(&text));
    std::thread::scope(|scope| {
        let six = scope.spawn(|| read("/proc/net/tcp6"));
        let mut sockets = read("/proc/net/tcp")?;
        sockets.extend(six.join().unwrap_or_else(|panic| resume_unwind(panic))?);
        Ok(sockets)
    })
}

fn parse_table(table: &str) -> Vec<Socket> {
    table.lines().skip(1).filter_map(parse_socket).collect()
}

fn parse_socket(line: &str) -> Option<Socket> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let [_, local, _, state, _, _, _, uid, _, inode, ..] = fields.as_slice() else { return None };
    if *state != LISTEN {
        return None;
    }
    let (_, port) = local.rsplit_once(':')?;
    Some(Socket { port: u16::from_str_radix(port, 16).ok()?, uid: uid.parse().ok()?, inode: inode.parse().ok()? })
}

fn listener(socket: &Socket, owners: &BTreeMap<u64, u32>) -> Listener {
    let pid = owners.get(&socket.inode).copied();
    Listener { port: socket.port, uid: socket.uid, pid, command: pid.and_then(command) }
}

/// The process that holds each socket, as far as we may see; of several, the eldest by number: the master.
fn owners(proc: &Path) -> BTreeMap<u64, u32> {
    let mut owners = BTreeMap::new();
    for pid in std::fs::read_dir(proc).into_iter().flatten().flatten().filter_map(|entry| number(&entry.file_name())) {
        let files = std::fs::read_dir(proc.join(pid.to_string()).join("fd")).into_iter().flatten().flatten();
        for inode in files.filter_map(|file| socket_inode(&std::fs::read_link(file.path()).ok()?)) {
            owners.entry(inode).and_modify(|eldest: &mut u32| *eldest = pid.min(*eldest)).or_insert(pid);
        }
    }
    owners
}

fn number(name: &std::ffi::OsStr) -> Option<u32> {
    name.to_str()?.parse().ok()
}

fn socket_inode(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// A process names itself, so what could steer a terminal is replaced.
fn command(pid: u32) -> Option<String> {
    let name = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    let name = String::from_utf8_lossy(&name);
    Some(name.trim_end_matches('\n').chars().map(|c| if c.is_control() { '?' } else { c }).collect())
}

fn parse_range(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// A kernel without IPv6 has no table for it. Read in as few pieces as can be: each begins with a search.
fn read_table(path: &Path) -> Result<String> {
    let mut text = String::with_capacity(TABLE);
    match File::open(path).and_then(|mut file| file.read_to_string(&mut text)) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(HostError::at("read", path)(e)),
        _ => Ok(text),
    }
}

/// The whole of a value of `/proc/sys`, which answers the first read only, cut to the reader's buffer
/// (`proc_do_large_bitmap`): a growing buffer would see `60000-60` of `60000-60009` and then the end.
fn read_at_once(path: &str) -> Result<String> {
    let mut buffer = vec![0; LONGEST];
    let read = File::open(path).and_then(|mut file| file.read(&mut buffer));
    let length = read.map_err(HostError::at("read", path))?;
    Ok(String::from_utf8_lossy(&buffer[..length]).trim().to_owned())
}

/// How many numbers `0-3,5` names.
fn count(ranges: &str) -> Option<u32> {
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    ranges.trim().split(',').map(range).sum()
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).map_err(HostError::at("read", path))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn kernel() -> RealKernel {
        RealKernel::new(Authority::Machine)
    }

    #[test]
    fn only_listening_sockets_of_a_table_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            0: 0100007F:EA60 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 4711 1 0 100 0 0 10 0\n\
            1: 0100007F:EA61 0100007F:1234 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 100 0 0 10 0\n\
            2: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 0:0 0:0 0 33 0 99 1 0\n\
            broken\n";
        let expected = [Socket { port: 60000, uid: 1001, inode: 4711 }, Socket { port: 80, uid: 33, inode: 99 }];
        assert_eq!(parse_table(table), expected);
    }

    #[test]
    fn our_own_listeners_are_found_with_their_process() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(socket) = TcpListener::bind(address) else { continue };
            let port = socket.local_addr().unwrap().port();
            let all = kernel().listeners().unwrap();
            let found = all.iter().find(|listener| listener.port == port).unwrap();
            assert_eq!(found.pid, Some(std::process::id()));
            assert_eq!(found.uid, rustix::process::geteuid().as_raw());
            assert!(found.command.is_some());
        }
    }

    #[test]
    fn the_kernel_answers() {
        let (first, last) = kernel().ephemeral_ports().unwrap();
        assert!(first < last);
        assert!(kernel().processors() >= 1);
        assert!(!kernel().hostname().unwrap().is_empty());
        assert!(!kernel().reserved_ports().unwrap().contains('\n'));
    }

    #[test]
    fn processors_are_the_machines_whoever_asks() {
        let all = kernel().processors();
        let confined = std::thread::spawn(|| {
            let mut one = rustix::thread::CpuSet::new();
            one.set(rustix::thread::sched_getcpu());
            rustix::thread::sched_setaffinity(None, &one).unwrap();
            kernel().processors()
        });
        assert_eq!(confined.join().unwrap(), all);
        let switched_on = ["0\n", "0-3,5\n", "0,2-3\n", "", "3-1", "x"].map(count);
        assert_eq!(switched_on, [Some(1), Some(5), Some(3), None, None, None]);
    }

    #[test]
    fn below_a_root_the_kernel_is_left_alone() {
        let before = kernel().reserved_ports().unwrap();
        let toy = RealKernel::new(Authority::Own(crate::model::Identity::ROOT));
        toy.reserve_ports("60000-60009").unwrap_err();
        assert_eq!(kernel().reserved_ports().unwrap(), before);
    }
}
