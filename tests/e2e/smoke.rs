//! The test bed itself, without the program under test.

use std::time::{Duration, Instant};

use crate::host::{Storage, TestHost};
use crate::http;
use crate::load::Load;

/// A site of nginx alone, which answers all that visitors ask for.
const SITE: &str = "server {
    listen 80;
    server_name smoke.example;
    location / { add_header X-Release nginx; default_type text/plain; return 200 hello; }
}
";

#[test]
fn a_host_boots_serves_loses_power_boots_again_and_leaves_nothing() {
    let began = Instant::now();
    let mut host = TestHost::boot("smoke", Storage::Shared);
    println!("booted {:.1?}", began.elapsed());
    let traces = host.traces();
    assert!(!traces.found().is_empty(), "what must be gone later must be seen now");

    host.put_file("/etc/nginx/sites-enabled/smoke.conf", SITE);
    // Not a reload: for a tenth of a second after one, old workers go on answering beside the new ones.
    host.exec_ok(&["systemctl", "restart", "nginx"]);
    let load = Load::start(&host, "smoke.example", 80, 32);
    load.wait_for(2_000);
    let report = load.stop();
    println!("{report}");
    report.assert_none_failed();
    assert_eq!(report.by_release.keys().collect::<Vec<_>>(), ["nginx"]);

    host.sh("echo before >/etc/mark; echo before >/run/mark");
    let cut = Instant::now();
    host.power_cut();
    assert!(host.path("/etc/mark").exists(), "the disk survives");
    host.boot_again();
    println!("power cut and boot {:.1?}", cut.elapsed());
    assert_eq!(host.read_file("/etc/mark"), "before\n");
    assert!(!host.has("/run/mark"), "/run is empty after a power cut");
    assert!(serves(&host), "nginx serves after the boot without help");

    host.reboot();
    assert_eq!(host.state(), "running");
    assert!(serves(&host));
    drop(host);
    assert_eq!(traces.found(), Vec::<String>::new());
    println!("all {:.1?}", began.elapsed());
}

#[test]
fn the_load_sees_a_server_that_goes_away() {
    let host = TestHost::boot("outage", Storage::Shared);
    host.put_file("/etc/nginx/sites-enabled/smoke.conf", SITE);
    host.exec_ok(&["systemctl", "restart", "nginx"]);
    let load = Load::start(&host, "smoke.example", 80, 4);
    load.wait_for(100);
    host.exec_ok(&["systemctl", "stop", "nginx"]);
    load.wait_for(10);
    let report = load.stop();
    assert!(report.failed > 0, "{report}");
    assert!(report.first["nginx"] < Duration::from_secs(20));
}

/// What tests of the program lean on, so that its absence is not taken for the program's fault.
#[test]
fn a_host_has_what_a_release_needs() {
    let host = TestHost::boot("needs", Storage::Shared);
    host.sh("strace -f -o /root/trace sh -c 'echo x >/root/x'; grep -q openat /root/trace");
    host.sh("unshare --mount sh -c 'mount --bind /etc/nginx/nginx.conf /etc/hostname'; grep -q needs /etc/hostname");
    host.sh("echo 60000-60009 >/proc/sys/net/ipv4/ip_local_reserved_ports");
    assert_eq!(host.read_file("/proc/sys/net/ipv4/ip_local_reserved_ports"), "60000-60009\n");
    let confined = "--property=PrivateTmp=yes --property=ProtectSystem=strict --property=NoNewPrivileges=yes";
    host.sh(&format!("systemd-run --quiet --wait {confined} --uid=www-data true"));
    host.sh("systemd-sysusers --version >/dev/null; systemd-tmpfiles --create; logrotate --debug /etc/logrotate.conf");
    host.sh(
        "supervisorctl status; nginx -t -q; python3 -c 'import ensurepip, sqlite3'; busctl --system list >/dev/null",
    );
    host.sh("inotifywait --timeout 1 /etc || test $? = 2");
}

fn serves(host: &TestHost) -> bool {
    http::get(host, "smoke.example", "/").is_ok_and(|response| response.release() == Some("nginx"))
}
