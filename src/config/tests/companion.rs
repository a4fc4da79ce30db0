//! Facts about the agent as companion, and about event handlers.

use std::path::Path;

use super::*;
use crate::health::own::OwnCheck;

fn checked(check: &str) -> flags::Agent {
    flags::Agent {
        check: vec![check.to_owned()],
        ..role("web")
    }
}

fn handled(handler: &str) -> flags::Agent {
    let mut flags = role("web");
    flags.common.event_handler = vec![handler.to_owned()];
    flags
}

#[test]
fn a_check_is_the_agents_and_where_fronts_can_theirs_too() {
    for (check, own, announced) in [
        ("http:/health", true, Some("http:/health")),
        ("tcp:81", true, Some("tcp:81")),
        ("exec:test -e /run/ok", true, None),
        ("ttl:30s", true, None),
        ("https:/", false, Some("https:/")),
        ("none", false, Some("none")),
    ] {
        let agent = read_agent(checked(check), &[], "").expect("it is right");

        let tag = agent.gossip.tags.get("check").map(String::as_str);
        assert_eq!(tag, announced, "{check}");
        assert_eq!(agent.companion.check.is_some(), own, "{check}");
    }
    let agent = read_agent(checked("exec: a, b:c "), &[], "").expect("it is right");
    assert_eq!(
        agent.companion.check,
        Some(OwnCheck::Exec("a, b:c".to_owned()))
    );
}

#[test]
fn fronts_can_be_told_another_check_than_the_agents_own() {
    let mut flags = checked("exec:/bin/true");
    flags.common.tag = vec!["check=http:/health".to_owned()];

    let agent = read_agent(flags.clone(), &[], "").expect("it is right");
    assert_eq!(
        agent.gossip.tags.get("check").map(String::as_str),
        Some("http:/health")
    );

    flags.check = vec!["tcp".to_owned()];
    let errors = read_agent(flags, &[], "").expect_err("two for the fronts");
    assert!(
        errors.starts_with("--tag check=http:/health: check is what --check announces"),
        "{errors}"
    );
}

#[test]
fn a_role_that_is_a_tag_is_checked_in_the_same_way() {
    let mut flags = flags::Agent {
        check: vec!["tcp".to_owned()],
        ..flags::Agent::default()
    };
    flags.common.tag = vec!["role=web".to_owned(), "port=80".to_owned()];
    let tag = |flags: &flags::Agent| {
        let agent = read_agent(flags.clone(), &[], "").expect("it is right");
        assert!(agent.companion.check.is_some());
        agent.gossip.tags.get("check").cloned()
    };

    assert_eq!(tag(&flags).as_deref(), Some("tcp"));
    flags.common.tag.push("check=http:/health".to_owned());
    assert_eq!(tag(&flags).as_deref(), Some("http:/health"));
}

#[test]
fn timing_comes_from_flags_and_file() {
    let file = "[agent]\nrole = \"web\"\ncheck = \"tcp\"\ncheck_interval = \"300ms\"\ncheck_rise = 3\nstop_timeout = \"5s\"\n";
    let flags = flags::Agent {
        check_fall: Some("4".to_owned()),
        ..flags::Agent::default()
    };

    let agent = read_agent(flags, &[("LB_CHECK_TIMEOUT", "2s")], file).expect("it is right");

    let timing = &agent.companion.timing;
    assert_eq!((timing.rise, timing.fall), (3, 4));
    assert_eq!(timing.interval, Duration::from_millis(300));
    assert_eq!(timing.down_interval, Duration::from_millis(300));
    assert_eq!(timing.timeout, Duration::from_secs(2));
    assert_eq!(agent.companion.stop_timeout, Duration::from_secs(5));
}

#[test]
fn a_ttl_check_has_a_socket() {
    let agent = read_agent(checked("ttl:30s"), &[], "").expect("it is right");
    assert_eq!(
        agent.companion.check_socket.as_deref(),
        Some(Path::new("/run/lb-agent/check.sock"))
    );

    let nowhere = Surroundings {
        runtime_home: None,
        ..around(&[])
    };
    let flags = checked("ttl:30s");
    let faults = Faults::default();
    agent::read(&flags, &nowhere, Table::absent(&faults), &faults);
    let errors = faults.or(()).expect_err("no place").to_string();
    assert_eq!(
        errors,
        "--check ttl: needs a place for its socket; give --check-socket PATH"
    );
}

#[test]
fn a_check_that_is_none_is_refused() {
    for (check, expected) in [
        ("exec:", "--check exec:: has no command; "),
        ("exec: ", "--check exec: : has no command; "),
        ("ttl:30", "--check ttl:30: is not a duration; "),
        ("ttl:0s", "--check ttl:0s: must be at least 1ms"),
    ] {
        let errors = read_agent(checked(check), &[], "").expect_err(check);
        assert!(errors.starts_with(expected), "{errors}");
    }
}

#[test]
fn tags_leave_room_for_what_the_node_may_have_to_say() {
    let mut flags = role("web");
    flags.common.tag = vec![format!("note={}", "x".repeat(430))];
    assert!(read_agent(flags.clone(), &[], "").is_ok());

    flags.check = vec!["exec:/bin/true".to_owned()];

    let errors = read_agent(flags, &[], "").expect_err("too long");
    assert!(errors.contains("at most 512 fit"), "{errors}");
}

#[test]
fn a_service_may_be_written_with_a_colon() {
    let flags = flags::Agent {
        service: vec!["api:8080;w=3".to_owned(), "db=5432;c=http:/x".to_owned()],
        ..role("web")
    };

    let agent = read_agent(flags, &[], "").expect("it is right");

    assert_eq!(
        agent.gossip.tags.get("svc.api").map(String::as_str),
        Some("8080;w=3")
    );
    assert_eq!(
        agent.gossip.tags.get("svc.db").map(String::as_str),
        Some("5432;c=http:/x")
    );
}

#[test]
fn handlers_come_from_flags_variable_and_file() {
    let file = "[gossip]\nevent_handler = [\"member-join,member-leave=a\", \"b\"]\nhandler_timeout = \"1m\"\n";
    let texts = |agent: Agent| -> Vec<String> {
        let specs = agent.handlers.specs.into_iter();
        specs.map(|spec| spec.text).collect()
    };

    let of_file = read_agent(role("web"), &[], file).expect("it is right");
    assert_eq!(of_file.handlers.timeout, Duration::from_secs(60));
    assert_eq!(texts(of_file), ["member-join,member-leave=a", "b"]);
    let variable = [("LB_EVENT_HANDLER", "user:x=a, b\nquery=c")];
    let of_variable = read_agent(role("web"), &variable, file).expect("it is right");
    assert_eq!(texts(of_variable), ["user:x=a, b", "query=c"]);
    let of_flag = read_agent(handled("user=a\nb"), &variable, file).expect("it is right");
    assert_eq!(texts(of_flag), ["user=a\nb"]);
}

#[test]
fn a_shell_for_everyone_is_refused_in_clear() {
    let key = [("LB_ENCRYPT_KEY", "MDEyMzQ1Njc4OWFiY2RlZg==")];
    for handler in [
        "query:shell=/bin/bash",
        "query:x=sh",
        "member-join=bash -s",
        "sh",
    ] {
        let errors = read_agent(handled(handler), &[], "").expect_err(handler);
        let beginning = format!("--event-handler {handler}: \"");
        assert!(errors.starts_with(&beginning), "{errors}");
        assert!(
            errors.contains("would run what comes on its stdin"),
            "{errors}"
        );

        assert!(
            read_agent(handled(handler), &key, "").is_ok(),
            "{handler} encrypted"
        );
        let insist = [("LB_INSECURE_HANDLERS", "true")];
        assert!(
            read_agent(handled(handler), &insist, "").is_ok(),
            "{handler} insisted"
        );
    }
    assert!(read_agent(handled("query:load=uptime"), &[], "").is_ok());
}

#[test]
fn events_of_fronts_are_for_fronts() {
    let errors = read_agent(handled("backend-down=x"), &[], "").expect_err("no pools");
    assert!(errors.contains("only a front has pools"), "{errors}");

    let mut flags = cluster("web");
    flags.common.event_handler = vec!["backend-down,pool-empty=x".to_owned()];
    assert!(read_front(flags, &[], "").is_ok());
}

fn two_services(checks: &[&str], service: &str) -> flags::Agent {
    flags::Agent {
        check: checks.iter().map(|check| (*check).to_owned()).collect(),
        service: vec![service.to_owned()],
        ..role("web")
    }
}

fn network(port: Option<u16>) -> OwnCheck {
    OwnCheck::Network(CheckSpec::Tcp { port })
}

#[test]
fn each_service_has_a_check_of_its_own() {
    let flags = two_services(&["http:/?a=b", "api=tcp"], "api=8080;w=3");
    let file = "[agent]\ncheck = \"http:/?a=b\"\n[agent.checks]\napi = \"tcp\"\n";
    let mut in_file = two_services(&[], "api=8080;w=3");
    in_file.check = Vec::new();
    for (flags, variables, text) in [
        (flags, &[][..], ""),
        (in_file.clone(), &[("LB_CHECK", "http:/?a=b\napi=tcp")], ""),
        (in_file, &[], file),
    ] {
        let agent = read_agent(flags, variables, text).expect("it is right");

        let tag = |name: &str| agent.gossip.tags.get(name).cloned();
        assert_eq!(tag("check").as_deref(), Some("http:/?a=b"));
        assert_eq!(tag("svc.api").as_deref(), Some("8080;w=3;c=tcp"));
        assert!(agent.companion.check.is_some());
        let expected = ServiceCheck {
            service: "api".to_owned(),
            port: 8080,
            check: network(None),
        };
        assert_eq!(agent.companion.more, [expected]);
    }
}

#[test]
fn a_check_named_for_the_first_service_is_the_role_s() {
    let flags = flags::Agent {
        check: vec!["api=exec:A=1 run, now".to_owned()],
        service: vec!["api=8080".to_owned()],
        ..flags::Agent::default()
    };
    let agent = read_agent(flags, &[], "").expect("it is right");

    assert_eq!(
        agent.companion.check,
        Some(OwnCheck::Exec("A=1 run, now".to_owned()))
    );
    assert_eq!(agent.companion.more, []);
}

#[test]
fn a_tagged_service_is_checked_too() {
    let mut flags = flags::Agent {
        check: vec!["api=tcp".to_owned()],
        ..role("web")
    };
    flags.common.tag = vec!["svc.api=8080".to_owned()];
    let agent = read_agent(flags, &[], "").expect("it is right");

    assert_eq!(agent.companion.more.len(), 1);
    assert_eq!(agent.gossip.tags["svc.api"], "8080");
}

#[test]
fn checks_of_services_that_cannot_be_are_named() {
    for (checks, service, why) in [
        (
            &["db=tcp"][..],
            "api=8080",
            "--check db=tcp: there is no service db; add --service db=PORT",
        ),
        (
            &["tcp", "http:/"],
            "api=8080",
            "--check http:/: is a second check of the role; write NAME= of its --service in front",
        ),
        (
            &["api=tcp", "api=exec:true"],
            "api=8080",
            "--check api=exec:true: service api has a check already",
        ),
        (
            &["tcp", "web=exec:true"],
            "api=8080",
            "--check web=exec:true: service web has a check already",
        ),
        (
            &["api=tcp"],
            "api=8080;c=http:/",
            "--check api=tcp: fronts are told another check of that service already; give one of the two",
        ),
        (
            &["api=ttl:5s"],
            "api=8080",
            "--check api=ttl:5s: reports name no service, so that only the first one can have a ttl",
        ),
        (
            &["=tcp"],
            "api=8080",
            "--check =tcp: is not a name; 1 to 63 letters, digits, '-', '.' or '_'",
        ),
    ] {
        let errors = read_agent(two_services(checks, service), &[], "").expect_err("it is wrong");
        assert!(errors.starts_with(why), "{errors}");
    }
}
