//! An address that somebody else has: it is told at once, and taken as soon as it is free.

use std::net::TcpListener;
use std::process::Stdio;

use crate::common::{Running, eventually};
use crate::rig::{LONG, World, get};

#[test]
fn a_busy_port_is_told_at_once_and_not_only_when_the_wait_is_over() {
    let world = World::new();
    world.configure(1, "", "");
    let program = world.install();
    for port in [18080, 19901, 17373] {
        let busy = world.address(1, port);
        let other = TcpListener::bind(busy).expect("a free address");
        let mut command = world.command(&program);
        let mut front =
            Running::start_given("front", world.files.path(), command.stdin(Stdio::null()));

        let told = format!("{busy} is in use by another program; trying for 10 s");
        eventually("it is told", LONG, || {
            assert!(front.is_running(), "{}", front.output());
            front.output().contains(&told).then_some(())
        });
        drop(other);

        eventually("the front serves", LONG, || {
            let (status, _) = get(world.address(1, 19901), "/readyz")?;
            (status == 200).then_some(())
        });
        let output = front.output();
        assert_eq!(output.matches(&told).count(), 1, "{output}");
        assert_eq!(front.terminate().code(), Some(0));
    }
}
