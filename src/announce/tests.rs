use super::*;

fn tags_of(pairs: &[(&str, &str)]) -> Tags {
    pairs
        .iter()
        .map(|(tag, value)| ((*tag).to_owned(), (*value).to_owned()))
        .collect()
}

fn web() -> Service {
    Service {
        name: "web".to_owned(),
        port: Some(80),
        weight: 1,
        tier: 0,
        backup: false,
        check: None,
        state: State::Ready,
        proto: None,
    }
}

#[test]
fn a_stock_serf_agent_is_a_backend() {
    let heard = read(&tags_of(&[("role", "web"), ("port", "80"), ("dc", "x")]));

    let expected = Heard {
        service: web(),
        warnings: vec![],
        unusable: None,
    };
    assert_eq!(heard, [expected]);
}

#[test]
fn a_member_without_a_role_is_no_backend() {
    assert_eq!(read(&tags_of(&[("port", "80")])), []);
    assert_eq!(read(&tags_of(&[("role", ""), ("svc.", "80")])), []);
}

#[test]
fn bad_values_of_little_weight_become_the_default_with_a_warning() {
    for (tag, value, said) in [
        ("weight", "0", "weight \"0\" is not 1-1000; taken as 1"),
        (
            "weight",
            "1001",
            "weight \"1001\" is not 1-1000; taken as 1",
        ),
        (
            "weight",
            "many",
            "weight \"many\" is not 1-1000; taken as 1",
        ),
        (
            "priority",
            "256",
            "priority \"256\" is not 0-255; taken as 0",
        ),
        ("priority", "-1", "priority \"-1\" is not 0-255; taken as 0"),
        (
            "backup",
            "yes",
            "backup \"yes\" is neither true nor false; taken as a primary",
        ),
        (
            "check",
            "htp:/",
            "check \"htp:/\" is not a check; one of http:[PORT]/path, https:[PORT]/path, tcp[:PORT], \
             grpc[:SERVICE], none; the pool's is used",
        ),
    ] {
        let heard = read(&tags_of(&[("role", "web"), ("port", "80"), (tag, value)]));

        assert_eq!(heard[0].service, web(), "{tag}={value}");
        assert_eq!(heard[0].warnings, [said]);
        assert_eq!(heard[0].unusable, None);
    }
}

#[test]
fn bad_values_that_could_misroute_make_the_service_unusable() {
    for (tag, value, said) in [
        ("port", "0", "port \"0\" is not a port (1-65535)"),
        ("port", "+80", "port \"+80\" is not a port (1-65535)"),
        ("port", "65536", "port \"65536\" is not a port (1-65535)"),
        (
            "state",
            "tired",
            "state \"tired\" is not a state; one of ready, drain, maint, fail:REASON",
        ),
        (
            "proto",
            "spdy",
            "proto \"spdy\" is not a protocol; one of http, h2c, h2, https, tcp",
        ),
    ] {
        let heard = read(&tags_of(&[("role", "web"), (tag, value)]));

        assert_eq!(heard[0].unusable.as_deref(), Some(said), "{tag}={value}");
        assert_eq!(heard[0].warnings, [""; 0]);
    }
}

#[test]
fn several_services_of_one_node_come_in_name_order() {
    let heard = read(&tags_of(&[
        ("role", "mid"),
        ("svc.api", "8080;w=3;p=1;b;c=http:/h;s=drain"),
        ("svc.web", "80"),
    ]));

    let names: Vec<_> = heard.iter().map(|one| one.service.name.as_str()).collect();
    assert_eq!(names, ["api", "mid", "web"]);
    assert_eq!(
        heard[0].service,
        Service {
            name: "api".to_owned(),
            port: Some(8080),
            weight: 3,
            tier: 1,
            backup: true,
            check: Some("http:/h".parse().unwrap()),
            state: State::Drain,
            proto: None,
        }
    );
    assert_eq!(heard[2].service, web());
}

#[test]
fn a_bad_long_form_takes_out_that_service_only() {
    for bad in [
        "", "x", "80;w=0", "80;p=x", "80;c=foo", "80;s=foo", "80;q", "80;b=1",
    ] {
        let heard = read(&tags_of(&[("role", "mid"), ("svc.web", bad)]));

        assert_eq!(heard.len(), 2);
        assert_eq!(heard[0].unusable, None);
        let reason = heard[1].unusable.as_deref().unwrap_or_default();
        assert!(reason.starts_with("svc.web: "), "{bad:?}: {reason:?}");
    }
}

#[test]
fn an_unknown_part_of_the_long_form_is_ignored() {
    let heard = read(&tags_of(&[("svc.web", "80;future=1")]));

    assert_eq!(heard[0].service, web());
    assert_eq!(heard[0].unusable, None);
    assert_eq!(
        heard[0].warnings,
        ["svc.web: \"future=1\" is unknown and ignored"]
    );
}

#[test]
fn role_wins_over_a_long_form_of_the_same_name() {
    let heard = read(&tags_of(&[
        ("role", "web"),
        ("port", "80"),
        ("svc.web", "81"),
    ]));

    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].service, web());
    assert_eq!(heard[0].warnings.len(), 1);
}

#[test]
fn what_is_written_is_read_back() {
    let services = [
        Service {
            weight: 5,
            tier: 2,
            backup: true,
            check: Some("http:8081/health?a=b".parse().unwrap()),
            state: State::Fail("disk full".to_owned()),
            proto: Some(Proto::H2c),
            ..web()
        },
        Service {
            name: "api".to_owned(),
            port: Some(9000),
            state: State::Maint,
            check: Some(CheckSpec::Tcp { port: None }),
            ..web()
        },
        Service {
            name: "zoo".to_owned(),
            weight: 1000,
            tier: 255,
            backup: true,
            ..web()
        },
    ];

    let announced = tags(&services, &tags_of(&[("zone", "a")])).unwrap();
    let mut heard = read(&announced);
    heard.sort_by_key(|one| services.iter().position(|own| own.name == one.service.name));

    assert_eq!(announced["zone"], "a");
    assert_eq!(announced["v"], VOCABULARY);
    let read_back: Vec<_> = heard.iter().map(|one| one.service.clone()).collect();
    assert_eq!(read_back, services);
    assert!(heard.iter().all(|one| one.warnings.is_empty()));
}

#[test]
fn defaults_are_not_announced_and_services_win_over_extra() {
    let announced = tags(&[web()], &tags_of(&[("port", "81"), ("weight", "9")])).unwrap();

    assert_eq!(
        announced,
        tags_of(&[("role", "web"), ("port", "80"), ("weight", "9"), ("v", "1")])
    );
}

#[test]
fn a_semicolon_does_not_break_the_long_form() {
    let api = Service {
        name: "api".to_owned(),
        check: Some("http:/a;b".parse().unwrap()),
        state: State::Fail("a;b".to_owned()),
        ..web()
    };

    let heard = read(&tags(&[web(), api], &Tags::new()).unwrap());

    assert_eq!(heard[0].unusable, None);
    assert_eq!(heard[0].service.check, Some("http:/a%3Bb".parse().unwrap()));
    assert_eq!(heard[0].service.state, State::Fail("a,b".to_owned()));
}

#[test]
fn the_state_of_a_long_form_is_replaced_and_all_else_kept() {
    let fails = State::Fail("a;b".to_owned());
    for (before, state, after) in [
        ("8080", &fails, "8080;s=fail:a,b"),
        (
            "8080;w=3;s=drain;future=1",
            &fails,
            "8080;w=3;future=1;s=fail:a,b",
        ),
        ("8080;b;s=fail:old", &State::Ready, "8080;b"),
    ] {
        let written = with_state(before, state);
        assert_eq!(written, after);
        let heard = read(&tags_of(&[("svc.api", &written)]));
        assert_eq!(
            Some(&heard[0].service.state),
            state_of(&written).as_ref().or(Some(&State::Ready))
        );
    }
    assert_eq!(state_of("8080;s=odd"), None);
    assert_eq!(state_of("8080;s=maint"), Some(State::Maint));
}

#[test]
fn exactly_512_bytes_fit() {
    // ff, map header, "k" as fixraw (2 bytes), and a raw16 header: 7 bytes beside the value.
    let fits = tags_of(&[("k", &"x".repeat(505))]);
    let over = tags_of(&[("k", &"x".repeat(506))]);

    assert_eq!(tags(&[], &fits), Ok(fits));
    assert_eq!(
        tags(&[], &over),
        Err(TooLong {
            bytes: 513,
            longest: "k".to_owned(),
            longest_bytes: 511
        })
    );
}

#[test]
fn sixteen_tags_take_a_longer_header() {
    let many = |value: usize| -> Tags {
        (0..16)
            .map(|n| {
                (
                    format!("{n:x}"),
                    "x".repeat(if n == 0 { value } else { 28 }),
                )
            })
            .collect()
    };
    // ff, de 00 10, 16 names of 2 bytes, 15 values of 29 bytes, one of `value` + 3.
    assert_eq!(tags(&[], &many(38)).map(|_| ()), Ok(()));
    assert_eq!(tags(&[], &many(39)).map_err(|e| e.bytes), Err(513));
}

#[test]
fn checks_are_parsed_and_shown_alike() {
    for text in [
        "none",
        "tcp",
        "tcp:8080",
        "http:/",
        "http:8080/health?deep=1",
        "https:/x",
        "https:8443/",
        "grpc",
        "grpc:my.Service",
    ] {
        let check: CheckSpec = text.parse().unwrap();
        assert_eq!(check.to_string(), text);
    }
}

#[test]
fn what_is_no_check_is_refused() {
    for text in [
        "",
        "http",
        "http:",
        "http:8080",
        "http:0/",
        "http:x/",
        "http://web1/",
        "http:/a b",
        "http:/a#b",
        "http:/ä",
        "http:/a\r\nX: y",
        "tcp:",
        "tcp:0",
        "tcp:x",
        "tcp:+1",
        "grpc:",
        "none:",
        "None",
        "ftp:/",
    ] {
        assert_eq!(
            text.parse::<CheckSpec>(),
            Err(BadCheck(text.to_owned())),
            "{text:?}"
        );
    }
}

#[test]
fn a_fail_reason_is_cut_at_a_character_and_kept_printable() {
    let long = format!("fail:{}ä", "x".repeat(63));

    let state: State = long.parse().unwrap();

    assert_eq!(state, State::Fail("x".repeat(63)));
    assert_eq!(
        "fail:a\x1b[31m\nb".parse(),
        Ok(State::Fail("a [31m b".to_owned()))
    );
    assert_eq!(
        State::Fail("ü".repeat(40)).to_string(),
        format!("fail:{}", "ü".repeat(32))
    );
}
