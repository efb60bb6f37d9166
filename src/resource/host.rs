//! What belongs to all environments of a host: reserved ports.
//!
//! `net.ipv4.ip_local_reserved_ports` is one value that others may have set too: theirs stays.

use std::collections::BTreeSet;

use crate::emit::NOTICE;
use crate::model::{PortError, PortRange};

/// The value that reserves our blocks (as far as the kernel could hand them out by itself) beside those of others.
///
/// `kernel` is the present value, `before` the blocks that we had put into it, `ephemeral` the first and last port that
/// the kernel hands out. The text is written as the kernel writes it, so equal texts mean that there is nothing to do.
pub fn reserved_ports(
    kernel: &str,
    before: &[PortRange],
    ours: &[PortRange],
    ephemeral: (u16, u16),
) -> Result<String, PortError> {
    let mut ports = parse(kernel)?;
    for port in before.iter().flat_map(|range| range.first..=range.last) {
        ports.remove(&port);
    }
    let handed_out = |port: &u16| (ephemeral.0..=ephemeral.1).contains(port);
    ports.extend(ours.iter().flat_map(|range| range.first..=range.last).filter(handed_out));
    Ok(canonical(&ports))
}

/// What marks our own blocks in the file, so that the next pass can tell them from other people's.
const OURS: &str = "# ours:";

/// The file of sysctl.d that sets the value at boot, with our blocks of it.
pub fn sysctl(value: &str, ours: &[PortRange]) -> String {
    let ours: Vec<String> = ours.iter().map(PortRange::to_string).collect();
    format!("# {NOTICE}\n{OURS} {}\nnet.ipv4.ip_local_reserved_ports = {value}\n", ours.join(" "))
}

/// The blocks that the file says are ours; none where it is not our file.
pub fn blocks(text: &str) -> Vec<PortRange> {
    let line = text.lines().find_map(|line| line.strip_prefix(OURS)).unwrap_or_default();
    line.split_whitespace().filter_map(|block| PortRange::parse(block).ok()).collect()
}

fn parse(kernel: &str) -> Result<BTreeSet<u16>, PortError> {
    let mut ports = BTreeSet::new();
    for entry in kernel.trim().split(',').filter(|entry| !entry.is_empty()) {
        let range = if entry.contains('-') { entry.to_owned() } else { format!("{entry}-{entry}") };
        let range = PortRange::parse(&range)?;
        ports.extend(range.first..=range.last);
    }
    Ok(ports)
}

/// `8080,60000-60049`: neighbours joined, a lone port without a dash (`proc_do_large_bitmap`).
fn canonical(ports: &BTreeSet<u16>) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for &port in ports {
        match ranges.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(port) => *last = port,
            _ => ranges.push((port, port)),
        }
    }
    let entry =
        |&(first, last): &(u16, u16)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
    ranges.iter().map(entry).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPHEMERAL: (u16, u16) = (32768, 60999);

    fn range(text: &str) -> PortRange {
        PortRange::parse(text).unwrap()
    }

    #[test]
    fn what_others_reserved_stays() {
        let ours = [range("60000-60009"), range("60010-60019")];
        assert_eq!(reserved_ports("8080,9148\n", &[], &ours, EPHEMERAL).unwrap(), "8080,9148,60000-60019");
        let after = reserved_ports("8080,60000-60019", &ours, &[range("60010-60019")], EPHEMERAL);
        assert_eq!(after.unwrap(), "8080,60010-60019");
        assert_eq!(reserved_ports("60000-60009\n", &ours, &[], EPHEMERAL).unwrap(), "");
    }

    #[test]
    fn a_block_moves() {
        let kernel = "40000,47000,50000-50003,60000-60009";
        let moved = reserved_ports(kernel, &[range("60000-60009")], &[range("59000-59009")], EPHEMERAL);
        assert_eq!(moved.unwrap(), "40000,47000,50000-50003,59000-59009");
    }

    #[test]
    fn only_ports_that_the_kernel_hands_out_are_reserved() {
        let ours = [range("60990-61009"), range("65530-65535")];
        assert_eq!(reserved_ports("", &[], &ours, EPHEMERAL).unwrap(), "60990-60999");
        assert_eq!(reserved_ports("", &[], &ours, (1024, 65535)).unwrap(), "60990-61009,65530-65535");
    }

    #[test]
    fn a_second_time_changes_nothing() {
        let ours = [range("60000-60009")];
        let once = reserved_ports("1,3,4", &[], &ours, EPHEMERAL).unwrap();
        assert_eq!(once, "1,3-4,60000-60009");
        assert_eq!(reserved_ports(&once, &ours, &ours, EPHEMERAL).unwrap(), once);
    }
}
