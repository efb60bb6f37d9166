//! How we were started, as to SIGHUP.
#![expect(clippy::disallowed_methods, reason = "the kernel's word about ourselves")]

/// What the kernel says about us (`proc_pid_status(5)`).
const STATUS: &str = "/proc/self/status";

/// Whether whoever started us wants a SIGHUP to be ignored, as `nohup` does.
pub fn ignores_hangup() -> bool {
    std::fs::read_to_string(STATUS).is_ok_and(|status| is_ignored(&status))
}

fn is_ignored(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Signal 1 is the lowest bit.
    mask.is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nohup_ignores_is_told_from_what_it_does_not() {
        assert!(is_ignored("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n"));
        assert!(!is_ignored("SigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n"));
        assert!(!is_ignored(""));
    }
}
