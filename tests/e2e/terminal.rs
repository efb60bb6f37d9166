//! What somebody has who types `portreeve run` at root's shell: a terminal, and not root's.

use crate::commands::SSH;
use crate::world::World;

#[test]
fn what_is_run_has_a_terminal_of_its_own() {
    let world = World::new("terminal");
    world.reconcile().ok();
    world.host.sh(SSH);
    world.host.put_file("/root/terminal.py", include_str!("terminal.py"));
    world.host.exec_ok(&["python3", "/root/terminal.py"]);
}
