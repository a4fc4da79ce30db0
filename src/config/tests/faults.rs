//! What is refused, and in which words.

use super::*;

#[test]
fn all_errors_of_a_file_come_in_one_run_with_their_places() {
    let file = "[gosip]\nbind = \"nowhere\"\nprofil = \"lann\"\n\n[cluster.web]\nlost_keep = 5\n\
                colour = \"red\"\ncheck.rise = 0\ncheck.intervall = \"1 parsec\"\n\n\
                [[cluster.web.backend]]\naddress = \"web1\"\nweight = 2000\ntier = 300\n\n\
                [timeouts]\ndrain = \"soon\"\n[zebra]\nstripes = 1\n";

    let errors = read_front(flags::Front::default(), &[], file).expect_err("it is wrong");

    let expected = "\
lb.toml:1:2: gosip: is not a key here; did you mean gossip?
lb.toml:2:8: gossip.bind = \"nowhere\": is not an address of this machine; write IP:PORT, like 0.0.0.0:7946 or [::]:7946
lb.toml:3:1: gossip.profil: is not a key here; did you mean profile?
lb.toml:3:10: gossip.profile = \"lann\": is not one of lan, wan, local; did you mean lan?
lb.toml:6:13: cluster.web.lost_keep = 5: is a number; write text in quotes
lb.toml:7:1: cluster.web.colour: is not a key here; known here: default_port, proto, send_proxy, on_down, lost_keep, backend_networks, check, tls, ejection, max_in_flight, queue, queue_timeout, backend
lb.toml:8:14: cluster.web.check.rise = 0: rise is a whole number from 1 to 1000
lb.toml:9:7: cluster.web.check.intervall: is not a key here; did you mean interval?
lb.toml:9:19: cluster.web.check.interval = \"1 parsec\": is not a duration; write a number with its unit, like \"250ms\", \"5s\" or \"1h\"
lb.toml:12:11: cluster.web.backend[0].address = \"web1\": lacks a port; write web1:80
lb.toml:13:10: cluster.web.backend[0].weight = 2000: weight is 1 to 1000; a backend of weight 2 gets twice the requests of one of weight 1
lb.toml:14:8: cluster.web.backend[0].tier = 300: tier is a whole number from 0 to 255
lb.toml:17:9: timeouts.drain = \"soon\": is not a duration; write a number with its unit, like \"250ms\", \"5s\" or \"1h\"
lb.toml:18:2: zebra: is not a key here; known here: log, gossip, admin, dns, state, cluster, listener, route, timeouts, limits";
    assert_eq!(errors, expected);
}

/// One wrong line of a front's file, and what is said of it.
#[test]
fn a_wrong_value_in_a_file_is_told_in_one_line() {
    let cases: &[(&str, &str)] = &[
        ("[cluster.web", "lb.toml:1:13: unclosed table, expected `]`"),
        (
            "cluster = 5\n",
            "lb.toml:1:11: cluster = 5: is a number; write a table [cluster]",
        ),
        (
            "[cluster]\nweb = 5\n",
            "lb.toml:2:7: cluster.web = 5: is a number; write a table [cluster.web]",
        ),
        (
            "[cluster.\"a b\"]\n",
            "lb.toml:1:10: cluster = a b: is not a name; 1 to 63 letters, digits, '-', '.' or '_'",
        ),
        (
            "[cluster.web]\ncheck = \"tcp\"\n",
            "lb.toml:2:9: cluster.web.check = \"tcp\": is text; write a table [cluster.web.check]",
        ),
        (
            "[cluster.web]\nmax_in_flight = -1\n",
            "lb.toml:2:17: cluster.web.max_in_flight = -1: max_in_flight is a whole number from 0 to 1000000",
        ),
        (
            "[cluster.web]\nqueue_timeout = \"0s\"\n",
            "lb.toml:2:17: cluster.web.queue_timeout = \"0s\": must be at least 1ms, since a wait of nothing always ends too soon",
        ),
        (
            "[cluster.web]\nproto = \"h3\"\n",
            "lb.toml:2:9: cluster.web.proto = \"h3\": is not a protocol; write \"http\", \"https\", \"h2c\", \"h2\" or \"tcp\"",
        ),
        (
            "[cluster.web]\nbackend = [{}]\n",
            "lb.toml:2:12: cluster.web.backend[0] = {}: lacks an address; write address = \"HOST:PORT\"",
        ),
        (
            "[cluster.web]\nbackend = [{address = \"a:1\"}, {address = \"A:1\"}]\n",
            "lb.toml:2:42: cluster.web.backend[1].address = \"A:1\": A:1 is a backend of this pool already; drop one, and give the other the sum of the weights",
        ),
        (
            "[cluster.web]\nbackend_networks = [\"10.0.0.1/8\", 5]\n",
            "lb.toml:2:21: cluster.web.backend_networks = \"10.0.0.1/8\": has bits set behind the prefix; write 10.0.0.0/8\n\
             lb.toml:2:35: cluster.web.backend_networks = 5: is a number; write a list of texts in quotes",
        ),
        (
            "[cluster.web]\n[limits]\nretry_percent = 101\nattempts = 1.5\n",
            "lb.toml:3:17: limits.retry_percent = 101: retry_percent is a whole number from 0 to 100\n\
             lb.toml:4:12: limits.attempts = 1.5: is a fraction; write a whole number without quotes",
        ),
        (
            "[cluster.web]\n[timeouts]\nconnect = \"0s\"\ndrain = \"9000000h\"\n",
            "lb.toml:3:11: timeouts.connect = \"0s\": must be at least 1ms, since a wait of nothing always ends too soon\n\
             lb.toml:4:9: timeouts.drain = \"9000000h\": is more than a year; check the unit (ms, s, m, h)",
        ),
        (
            "[cluster.web]\n[listener.a]\nlisten = [\":80\", \"10.0.0.1:81\"]\n[listener.b]\n",
            "lb.toml:3:11: listener.a.listen = \":80\": means every address and stands alone; beside others write 0.0.0.0:80 or [::]:80\n\
             lb.toml:4:11: listener = b: lacks its addresses; write listen = [\":PORT\"]",
        ),
        (
            "[cluster.web]\n[listener.a]\n[listener.b]\nlisten = \"127.0.0.1:80\"\nmode = \"udp\"\ncluster = \"api\"\n",
            "lb.toml:4:10: listener.b.listen = \"127.0.0.1:80\": listener a wants port 80 too; give one of them another\n\
             lb.toml:5:8: listener.b.mode = \"udp\": is not a mode; write \"http\" or \"tcp\"\n\
             lb.toml:6:11: listener.b.cluster = \"api\": is no pool here; add [cluster.api], or name one that is there",
        ),
        (
            "[cluster.web]\n[gossip]\nencrypt_key_file = \"/nonexistent/k\"\n",
            "lb.toml:3:20: gossip.encrypt_key_file = \"/nonexistent/k\": no such file; write one base64 key a line, of 16, 24 or 32 bytes, as `serf keygen` makes them",
        ),
        (
            "[cluster.web]\n[admin]\nlisten = \"0.0.0.0:9901\"\ntoken_file = \"t\"\n",
            "lb.toml:4:14: admin.token_file = \"t\": tokens are not built yet; refusing to serve 0.0.0.0:9901 without one, bind --admin to 127.0.0.1",
        ),
        (
            "[cluster.web]\n[admin]\nlisten = \"127.0.0.1:80\"\nready_requires_backend = 1\n",
            "lb.toml:3:10: admin.listen = \"127.0.0.1:80\": --listen wants port 80 too; give one of them another\n\
             lb.toml:4:26: admin.ready_requires_backend = 1: is a number; write true or false, without quotes",
        ),
        (
            "[cluster.web]\n[listener.a]\nlisten = []\nredirect_https = 80\n",
            "lb.toml:3:10: listener.a.listen = []: leaves it nowhere to listen; write listen = [\":PORT\"]\n\
             lb.toml:4:18: listener.a.redirect_https = 80: is this listener's own port, so that clients would be sent in circles; \
             write the port where https is spoken, true for 443, or false",
        ),
        (
            "[cluster.web]\n[listener.a]\nlisten = [\"10.0.0.1:80\", \"10.0.0.1:443\"]\nredirect_https = true\n",
            "lb.toml:4:18: listener.a.redirect_https = true: is this listener's own port, so that clients would be sent in circles; \
             write the port where https is spoken, or false",
        ),
        (
            "[cluster.web]\n[listener.a]\nmode = \"tcp\"\nredirect_https = true\nacme_dir = \"/\"\n",
            "lb.toml:4:18: listener.a.redirect_https = true: answers requests, and mode = \"tcp\" relays bytes without looking at them; \
             put it into a listener of mode \"http\"\n\
             lb.toml:5:12: listener.a.acme_dir = \"/\": answers requests, and mode = \"tcp\" relays bytes without looking at them; \
             put it into a listener of mode \"http\"",
        ),
        (
            "[cluster.web]\n[listener.a.tls]\ncert = \"/nonexistent/c\"\nkey = \"/nonexistent/k\"\nalpn = []\n",
            "lb.toml:3:8: listener.a.tls.cert = \"/nonexistent/c\": there is no such file; check the path\n\
             lb.toml:4:7: listener.a.tls.key = \"/nonexistent/k\": there is no such file; check the path\n\
             lb.toml:5:8: listener.a.tls.alpn = []: leaves clients no protocol to agree on; write \"h2\", \"http/1.1\" or both, or leave it out for both",
        ),
        (
            "[cluster.web]\nbackend = [{address = \"a:1\", priority = 300}]\n",
            "lb.toml:2:30: cluster.web.backend[0].priority: is not a key here; did you mean tier?\n\
             lb.toml:2:41: cluster.web.backend[0].tier = 300: tier is a whole number from 0 to 255",
        ),
        (
            "[cluster.web]\n[gossip]\nbind = \"10.0.0.1:9000\"\n[admin]\nlisten = \"10.0.0.1:9000\"\n",
            "lb.toml:5:10: admin.listen = \"10.0.0.1:9000\": --bind (gossip) wants port 9000 too; give one of them another",
        ),
        (
            "[[route]]\ncluster = 1\n[cluster.web]\n",
            "lb.toml:2:11: route[0].cluster = 1: is a number; write text in quotes",
        ),
    ];
    for (file, expected) in cases {
        let errors = read_front(flags::Front::default(), &[], file).expect_err(file);
        assert_eq!(errors, *expected, "of {file}");
    }
}

#[test]
fn a_wrong_flag_or_variable_is_told_in_one_line() {
    type Set = fn(&mut flags::Front);
    type Variables = &'static [(&'static str, &'static str)];
    let cases: &[(Set, Variables, &str)] = &[
        (
            |flags| flags.common.bind = Some("web".to_owned()),
            &[],
            "--bind web: is not an address of this machine; write IP:PORT, like 0.0.0.0:7946 or [::]:7946",
        ),
        (
            |flags| flags.common.bind = Some("8.8.8.8".to_owned()),
            &[],
            "--bind 8.8.8.8: is a public address and gossip is not encrypted, so anyone could name backends; \
             use a private address, --encrypt-key-file, or --insecure-gossip if a firewall guards it",
        ),
        (
            |_| (),
            &[("LB_WORKERS", "many")],
            "LB_WORKERS=many: workers is a whole number from 0 to 1024",
        ),
        (
            |_| (),
            &[("LB_JOIN", "10.0.0.1,a b")],
            "LB_JOIN=a b: is not HOST or HOST:PORT, like 10.0.0.5, web1.internal or web1.internal:7946",
        ),
        (
            |flags| flags.backend = vec!["10.0.0.1:80,heavy".to_owned()],
            &[],
            "--backend heavy: lacks a port; write heavy:80",
        ),
        (
            |flags| flags.backend = vec!["10.0.0.1:80,weight=0".to_owned()],
            &[],
            "--backend 10.0.0.1:80,weight=0: weight is 1 to 1000; a backend of weight 2 gets twice the requests of one of weight 1",
        ),
        (
            |flags| flags.cluster.push("web".to_owned()),
            &[],
            "--cluster web: is named twice",
        ),
        (
            |flags| flags.common.tag = vec!["zone".to_owned()],
            &[],
            "--tag zone: is not KEY=VALUE, like zone=eu-1",
        ),
        (
            |flags| flags.common.log_level = Some("loud".to_owned()),
            &[],
            "--log-level loud: is not one of error, warn, info, debug, trace",
        ),
        (
            |flags| flags.common.encrypt_key_file = Some("/".to_owned()),
            &[],
            "--encrypt-key-file /: is no file; write one base64 key a line, of 16, 24 or 32 bytes, as `serf keygen` makes them",
        ),
        (
            |_| (),
            &[("LB_ENCRYPT_KEY", "c2VjcmV0")],
            "LB_ENCRYPT_KEY=…: key 1 has 6 bytes; AES takes 16, 24 or 32; write one base64 key a line, of 16, 24 or 32 bytes, as `serf keygen` makes them",
        ),
        (
            |flags| flags.common.admin = Some(":9901".to_owned()),
            &[],
            "--admin :9901: is not an address; write IP:PORT, like 127.0.0.1:9901 (0.0.0.0:9901 opens it to the network), or off",
        ),
        (
            |flags| flags.listen = vec!["10.0.0.1:80".to_owned(), "10.0.0.1:80".to_owned()],
            &[],
            "--listen 10.0.0.1:80: is given twice",
        ),
        (
            |flags| flags.listen = vec![":7946".to_owned()],
            &[],
            "--listen :7946: --bind (gossip) wants port 7946 too; give one of them another",
        ),
        (
            |flags| flags.listen = vec![":99999".to_owned()],
            &[],
            "--listen :99999: port is a whole number from 1 to 65535",
        ),
    ];
    for (set, variables, expected) in cases {
        let mut flags = cluster("web");
        set(&mut flags);
        let errors = read_front(flags, variables, "").expect_err(expected);
        assert_eq!(errors, *expected);
    }
}

#[test]
fn a_front_with_nothing_to_balance_says_what_to_give() {
    let errors = read_front(flags::Front::default(), &[], "").expect_err("no pool");

    assert_eq!(
        errors,
        "nothing to balance: name the pool, like `lb --cluster web`, or give --backend HOST:PORT; `lb demo` shows it without either"
    );
}

#[test]
fn a_file_that_names_no_pool_is_no_file_to_start_with() {
    let check = |text: &str| {
        let around = around(&[]);
        let document = Document::parse("lb.toml", text).expect("sound");
        let flags = flags::Front::default();
        let (front, faults) = document
            .read(|root, faults| front::read(&flags, &around, Purpose::Check, root, faults));
        faults
            .or(front)
            .map(drop)
            .map_err(|errors| errors.to_string())
    };

    assert_eq!(check("[cluster.web]\n"), Ok(()));
    assert_eq!(
        check("[admin]\nlisten = \"off\"\n"),
        Err("lb.toml: names no pool, so that there is nothing to balance; add [cluster.NAME], which does no harm where --cluster NAME is given as well".to_owned())
    );
}

#[test]
fn what_an_agent_cannot_announce_is_refused() {
    type Set = fn(&mut flags::Agent);
    let cases: &[(Set, &str)] = &[
        (
            |flags| flags.weight = Some("2000".to_owned()),
            "--weight 2000: weight is 1 to 1000; a backend of weight 2 gets twice the requests of one of weight 1",
        ),
        (
            |flags| flags.port = Some("0".to_owned()),
            "--port 0: port is a whole number from 1 to 65535",
        ),
        (
            |flags| flags.check = vec!["ping".to_owned()],
            "--check ping: is not a check; write http:[PORT]/path, tcp[:PORT], exec:COMMAND, ttl:30s, https:[PORT]/path, grpc[:SERVICE] or none",
        ),
        (
            |flags| flags.service = vec!["web=81".to_owned()],
            "--service web=81: service web is given twice",
        ),
        (
            |flags| flags.common.tag = vec!["port=81".to_owned()],
            "--tag port=81: port is what --port announces; give one of the two",
        ),
        (
            |flags| (flags.role, flags.port) = (None, Some("80".to_owned())),
            "--port 80: says nothing without a role; add --role web",
        ),
        (
            |flags| flags.service = vec!["api".to_owned()],
            "--service api: is not a service; write NAME=PORT[;w=N][;p=N][;b][;c=CHECK], like api=8080;w=3",
        ),
    ];
    for (set, expected) in cases {
        let mut flags = role("web");
        set(&mut flags);
        let errors = read_agent(flags, &[], "").expect_err(expected);
        assert_eq!(errors, *expected);
    }
}

#[test]
fn tags_that_do_not_fit_are_refused_at_the_start() {
    let mut flags = role("web");
    flags.common.tag = vec![format!("note={}", "x".repeat(600))];

    let errors = read_agent(flags, &[], "").expect_err("too long");

    assert!(errors.starts_with("tags take 6"), "{errors}");
    assert!(errors.contains("\"note\" alone takes 6"), "{errors}");
}

#[test]
fn public_addresses_are_for_those_who_insist() {
    let mut flags = cluster("web");
    flags.common.join = vec!["8.8.8.8:7946".to_owned()];
    flags.common.advertise = Some("8.8.4.4".to_owned());

    let errors = read_front(flags.clone(), &[], "").expect_err("in clear");
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(lines.len(), 2, "{errors}");
    assert!(lines[0].starts_with("--advertise 8.8.4.4: is a public address"));
    assert!(lines[1].starts_with("--join 8.8.8.8:7946: is a public address"));

    let front = read_front(flags, &[("LB_INSECURE_GOSSIP", "true")], "").expect("insisted");
    assert!(front.insecure_gossip);
}

#[test]
fn columns_are_counted_in_letters() {
    let errors = read_front(
        flags::Front::default(),
        &[],
        "[cluster.web]\r\n\"ü\".x = 1\r\n\"é\" = 1",
    )
    .expect_err("unknown keys");

    let places: Vec<&str> = errors
        .lines()
        .filter_map(|line| line.split(": ").next())
        .collect();
    assert_eq!(places, ["lb.toml:2:1", "lb.toml:3:1"]);
}
