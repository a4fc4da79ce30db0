//! DESIGN's table of opinions, row by row.

use super::*;

/// A case: everything is fine but for what it changes.
struct Case {
    row: &'static str,
    spec: Spec,
    check: CheckSpec,
    proto: Proto,
    relayed: bool,
    health: Health,
    lost: Option<Lost<'static>>,
    shadowed_by: Option<UpstreamId>,
    refused: Option<&'static str>,
    ejected: Option<&'static str>,
    panic: bool,
    expected: (bool, State, &'static str),
}

fn id(node: &str) -> UpstreamId {
    UpstreamId {
        node: node.into(),
        service: "web".into(),
    }
}

fn case(row: &'static str, expected: (bool, State, &'static str)) -> Case {
    Case {
        row,
        spec: Spec {
            id: id("web1"),
            address: ([10, 0, 0, 1], 80).into(),
            weight: 3,
            tier: 2,
            backup: true,
            check: None,
            proto: None,
            announced: announce::State::Ready,
            standing: Standing::Alive,
            joined: 1,
            unusable: None,
            warnings: vec![],
        },
        check: "http:/".parse().unwrap(),
        proto: Proto::Http,
        relayed: false,
        health: Health::Up("200".to_owned()),
        lost: None,
        shadowed_by: None,
        refused: None,
        ejected: None,
        panic: false,
        expected,
    }
}

fn lost(seconds: u64) -> Option<Lost<'static>> {
    Some(Lost {
        age: Duration::from_secs(seconds),
        keep: Duration::from_secs(3600),
        met_alive: true,
        failed_check: None,
        with_most: false,
    })
}

fn down(checks: u32) -> Health {
    Health::Down {
        checks,
        reason: "connection refused".to_owned(),
    }
}

impl Case {
    fn health(mut self, health: Health) -> Self {
        self.health = health;
        self
    }
    fn announced(mut self, state: announce::State) -> Self {
        self.spec.announced = state;
        self
    }
    fn standing(mut self, standing: Standing) -> Self {
        self.spec.standing = standing;
        self
    }
    fn lost(mut self, lost: Option<Lost<'static>>) -> Self {
        self.lost = lost;
        self.standing(Standing::Failed)
    }
    fn check(mut self, check: CheckSpec) -> Self {
        self.check = check;
        self
    }
    fn refused(mut self, reason: &'static str) -> Self {
        self.refused = Some(reason);
        self
    }
    fn ejected(mut self, reason: &'static str) -> Self {
        self.ejected = Some(reason);
        self
    }
    fn panic(mut self) -> Self {
        self.panic = true;
        self
    }
    fn shadowed(mut self) -> Self {
        self.shadowed_by = Some(id("web3"));
        self
    }
    fn unusable(mut self) -> Self {
        self.spec.unusable = Some("port \"x\" is not a port (1-65535)".to_owned());
        self
    }
    fn proto(mut self, proto: Proto) -> Self {
        self.proto = proto;
        self
    }
    fn relayed(mut self) -> Self {
        self.relayed = true;
        self
    }
    fn warned(mut self) -> Self {
        self.spec.warnings = vec!["weight \"0\" is not 1-1000; taken as 1".to_owned()];
        self
    }
    fn opinions(&self) -> Opinions<'_> {
        Opinions {
            spec: &self.spec,
            shadowed_by: self.shadowed_by.as_ref(),
            lost: self.lost,
            check: Cow::Borrowed(&self.check),
            proto: self.proto,
            relayed: self.relayed,
            health: &self.health,
            refused: self.refused,
            ejected: self.ejected,
            panic: self.panic,
        }
    }
}

#[rustfmt::skip]
fn rows() -> Vec<Case> {
    use State::{Down, Drain, Ejected, Lost as AgentLost, Maint, Shadowed, Unproven, Unusable, Up};
    vec![
        case("joined, not yet checked", (false, Unproven, "unproven: waiting for the first check"))
            .health(Health::Unchecked),
        case("joined, refused once", (false, Unproven, "unproven: check http:/ failed: connection refused"))
            .health(Health::Undecided(Err("connection refused".to_owned()))),
        case("joined, passed once of several", (false, Unproven, "unproven: check http:/ passed: 200; waiting for more"))
            .health(Health::Undecided(Ok("200".to_owned()))),
        case("check up", (true, Up, "check http:/ passed: 200")),
        case("check down", (false, Down, "2 checks failed: connection refused"))
            .health(down(2)),
        case("check down with fall 1", (false, Down, "check failed: connection refused"))
            .health(down(1)),
        case("no check wanted", (true, Up, "no check: taken at its word"))
            .check(CheckSpec::None).health(Health::Unchecked),
        case("static", (true, Up, "check http:/ passed: 200"))
            .standing(Standing::Static),
        case("agent says fail", (false, Down, "its own node says it fails: disk full"))
            .announced(announce::State::Fail("disk full".to_owned())),
        case("agent says maint", (false, Maint, "in maintenance, says its node"))
            .announced(announce::State::Maint),
        case("agent says drain", (false, Drain, "drained by its node"))
            .announced(announce::State::Drain),
        case("drain, and not answering", (false, Drain, "drained by its node"))
            .announced(announce::State::Drain).health(down(2)),
        case("leave intent", (false, Drain, "leaving the cluster"))
            .standing(Standing::Leaving),
        case("suspect", (true, Up, "check http:/ passed: 200"))
            .standing(Standing::Suspect),
        case("suspect, down", (false, Down, "2 checks failed: connection refused"))
            .standing(Standing::Suspect).health(down(2)),
        case("failed, still answering", (true, AgentLost, "agent lost: gossip says failed, checks still pass"))
            .lost(lost(3)),
        case("failed, kept too long", (false, Down, "agent lost for 1h: no longer kept on checks alone"))
            .lost(lost(3600)),
        case("failed, one bad check since", (false, Down, "agent lost, then a check failed: connection refused"))
            .lost(lost(3).map(|lost| Lost { failed_check: Some("connection refused"), ..lost })),
        case("failed, down before", (false, Down, "2 checks failed: connection refused"))
            .lost(lost(3)).health(down(2)),
        case("failed, never checked", (false, Unproven, "unproven: waiting for the first check"))
            .lost(lost(3)).health(Health::Unchecked),
        case("failed, no check wanted", (false, Down, "agent lost, and no check could tell that it serves"))
            .lost(lost(0)).check(CheckSpec::None),
        case("failed before we met it", (false, Down, "agent lost before we met it: waiting for it to be alive"))
            .lost(lost(3).map(|lost| Lost { met_alive: false, ..lost })),
        case("failed, node said drain before", (false, Drain, "drained by its node"))
            .lost(lost(3)).announced(announce::State::Drain),
        case("failed, address claimed by another", (false, Shadowed, "shadowed by web3"))
            .lost(lost(3)).shadowed(),
        case("two connects failed", (false, Down, "2 connects in a row failed: connection refused; waiting for a check to pass"))
            .refused("connection refused"),
        case("two connects failed, no check wanted", (false, Down, "2 connects in a row failed: connection refused; waiting for a check to pass"))
            .refused("connection refused").check(CheckSpec::None),
        case("two connects failed, then checks", (false, Down, "2 checks failed: connection refused"))
            .refused("timed out").health(down(2)),
        case("requests fail", (false, Ejected, "3 of 5 requests failed in 1s: 503"))
            .ejected("3 of 5 requests failed in 1s: 503"),
        case("requests fail, and checks too", (false, Down, "2 checks failed: connection refused"))
            .ejected("3 of 5 requests failed in 1s: 503").health(down(2)),
        case("requests fail, and connects too", (false, Down, "2 connects in a row failed: connection refused; waiting for a check to pass"))
            .ejected("3 of 5 requests failed in 1s: 503").refused("connection refused"),
        case("agent lost, requests fail", (false, Ejected, "5 requests in a row failed: 503"))
            .lost(lost(3)).ejected("5 requests in a row failed: 503"),
        case("panic, requests fail", (true, Ejected, "used in panic, nobody else is left: 5 requests in a row failed: 503"))
            .ejected("5 requests in a row failed: 503").panic(),
        case("panic, agent says fail, own check passes", (true, Down, "used in panic, nobody else is left: its own node says it fails: disk full"))
            .announced(announce::State::Fail("disk full".to_owned())).panic(),
        case("panic, agent says fail, own check fails", (false, Down, "its own node says it fails: disk full"))
            .announced(announce::State::Fail("disk full".to_owned())).health(down(2)).panic(),
        case("panic, agent says fail, no check could tell", (false, Down, "its own node says it fails: disk full"))
            .announced(announce::State::Fail("disk full".to_owned())).check(CheckSpec::None).panic(),
        case("panic, agent says fail, never checked", (false, Down, "its own node says it fails: disk full"))
            .announced(announce::State::Fail("disk full".to_owned())).health(Health::Unchecked).panic(),
        case("panic, agent says fail, connects fail", (false, Down, "its own node says it fails: disk full"))
            .announced(announce::State::Fail("disk full".to_owned())).refused("connection refused").panic(),
        case("panic, agent said fail and was lost for too long", (false, Down, "agent lost for 1h: no longer kept on checks alone"))
            .announced(announce::State::Fail("disk full".to_owned())).lost(lost(3600)).panic(),
        case("panic, a failed active check is never ignored", (false, Down, "2 checks failed: connection refused"))
            .ejected("5 requests in a row failed: 503").health(down(2)).panic(),
        case("panic, drained", (false, Drain, "drained by its node"))
            .announced(announce::State::Drain).panic(),
        case("panic, maint", (false, Maint, "in maintenance, says its node"))
            .announced(announce::State::Maint).panic(),
        case("panic, leaving", (false, Drain, "leaving the cluster"))
            .standing(Standing::Leaving).ejected("5 requests in a row failed: 503").panic(),
        case("panic, unproven", (false, Unproven, "unproven: waiting for the first check"))
            .health(Health::Unchecked).panic(),
        case("lost with most of the pool", (true, AgentLost, "agent lost, with most of the pool: we may be cut off, and no check of it failed"))
            .lost(lost(3).map(|lost| Lost { with_most: true, ..lost })),
        case("lost with most of the pool, one bad check since", (false, Down, "agent lost, then a check failed: connection refused"))
            .lost(lost(3).map(|lost| Lost { with_most: true, failed_check: Some("connection refused"), ..lost })),
        case("shadowed", (false, Shadowed, "shadowed by web3"))
            .shadowed(),
        case("unusable", (false, Unusable, "port \"x\" is not a port (1-65535)"))
            .unusable().shadowed(),
        case("bytes among requests", (false, Unusable, "speaks tcp, and its pool sends requests: a pool of proto \"tcp\" would relay to it"))
            .proto(Proto::Tcp),
        case("bytes", (true, Up, "check http:/ passed: 200"))
            .proto(Proto::Tcp).relayed(),
        case("bytes that mean something to others", (true, Up, "check http:/ passed: 200"))
            .proto(Proto::H2).relayed(),
        case("a bad tag of little weight", (true, Up, "check http:/ passed: 200 (warning: weight \"0\" is not 1-1000; taken as 1)"))
            .warned(),
    ]
}

#[test]
fn every_row_of_the_table_of_opinions() {
    for case in rows() {
        let (in_rotation, state, reason) = case.expected;

        let verdict = effective(&case.opinions());

        let expected = Verdict {
            in_rotation,
            state,
            reason: reason.to_owned(),
            weight: 3,
            tier: 2,
            backup: true,
        };
        assert_eq!(verdict, expected, "{}", case.row);
    }
}

#[test]
fn who_is_in_rotation_never_fails_and_is_never_gone() {
    for case in rows() {
        // In panic even who is said to fail is asked.
        if effective(&case.opinions()).in_rotation && !case.panic {
            assert!(!case.opinions().failing(), "{}", case.row);
            assert!(!case.opinions().gone(), "{}", case.row);
        }
    }
}

#[test]
fn a_drained_backend_that_stops_answering_is_failing() {
    let quiet = case("", (false, State::Drain, "")).announced(announce::State::Drain);
    assert!(!quiet.opinions().failing());

    let dead = quiet.health(down(2));
    assert!(dead.opinions().failing());
}
