//! Facts about reading settings: who wins, and what is announced.

mod companion;
mod faults;
mod keys;
mod relays;
mod rpc;
mod samples;

use std::collections::BTreeMap;
use std::time::Duration;

use super::document::Document;
use super::front::Purpose;
use super::*;
use crate::announce::CheckSpec;
use crate::proxy::Listen;

/// A front from flags, variables and a file's text, or its errors, one a line.
fn read_front(
    flags: flags::Front,
    variables: &[(&str, &str)],
    text: &str,
) -> Result<Front, String> {
    let around = around(variables);
    let document = Document::parse("lb.toml", text).map_err(|errors| errors.to_string())?;
    let (front, faults) =
        document.read(|root, faults| front::read(&flags, &around, Purpose::Run, root, faults));
    faults.or(front).map_err(|errors| errors.to_string())
}

fn read_agent(
    flags: flags::Agent,
    variables: &[(&str, &str)],
    text: &str,
) -> Result<Agent, String> {
    let around = around(variables);
    let document = Document::parse("agent.toml", text).map_err(|errors| errors.to_string())?;
    let (agent, faults) = document.read(|root, faults| agent::read(&flags, &around, root, faults));
    faults.or(agent).map_err(|errors| errors.to_string())
}

fn around(variables: &[(&str, &str)]) -> Surroundings {
    Surroundings {
        variables: variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        hostname: "web1".to_owned(),
        dice: 0xbeef,
        state_home: Some("/var/lib/lb".into()),
        runtime_home: Some("/run/lb-agent".into()),
    }
}

fn cluster(name: &str) -> flags::Front {
    flags::Front {
        cluster: vec![name.to_owned()],
        ..flags::Front::default()
    }
}

fn role(name: &str) -> flags::Agent {
    flags::Agent {
        role: Some(name.to_owned()),
        ..flags::Agent::default()
    }
}

#[test]
fn one_flag_is_enough() {
    let front = read_front(cluster("web"), &[], "").expect("it is right");

    assert_eq!(front.clusters.len(), 1);
    assert_eq!(front.clusters[0].pool.name, "web");
    assert_eq!(front.discover.as_deref(), Some("web"));
    assert_eq!(front.gossip.node, "web1");
    assert_eq!(
        front.gossip.tags,
        BTreeMap::from([("v".to_owned(), "1".to_owned())])
    );
    assert_eq!(front.admin.listen, Some(ADMIN));
    assert_eq!(
        front.proxy.listeners[0].listen,
        Listen::Default { port: 80 }
    );
    assert_eq!(front.warnings, Vec::<String>::new());
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let file = "[gossip]\nprofile = \"wan\"\njoin = [\"10.0.0.3\"]\n[cluster.web]\n";
    let variables = [
        ("LB_PROFILE", "local"),
        ("LB_JOIN", "10.0.0.2,web.internal:7000"),
    ];
    let mut flags = flags::Front::default();
    let profile = |flags: &flags::Front, variables: &[(&str, &str)]| {
        let front = read_front(flags.clone(), variables, file).expect("it is right");
        (
            format!("{:?}", front.gossip.profile),
            front.gossip.join.join(" "),
        )
    };

    assert_eq!(
        profile(&flags, &[]),
        ("Wan".to_owned(), "10.0.0.3".to_owned())
    );
    assert_eq!(
        profile(&flags, &variables),
        ("Local".to_owned(), "10.0.0.2 web.internal:7000".to_owned())
    );
    flags.common.profile = Some("lan".to_owned());
    flags.common.join = vec!["10.0.0.1".to_owned()];
    assert_eq!(
        profile(&flags, &variables),
        ("Lan".to_owned(), "10.0.0.1".to_owned())
    );
}

#[test]
fn an_empty_variable_is_none() {
    let front = read_front(cluster("web"), &[("LB_PROFILE", ""), ("LB_JOIN", "")], "");

    assert_eq!(
        front.expect("it is right").gossip.join,
        Vec::<String>::new()
    );
}

#[test]
fn pools_come_in_the_order_in_which_they_were_named() {
    let file = "[cluster.zoo]\n[cluster.api]\ndefault_port = 8080\n[cluster.web]\n";

    let front = read_front(cluster("web"), &[], file).expect("it is right");

    let names: Vec<&str> = front
        .clusters
        .iter()
        .map(|cluster| cluster.pool.name.as_str())
        .collect();
    assert_eq!(names, ["web", "zoo", "api"]);
    assert_eq!(front.clusters[2].pool.default_port, 8080);
}

#[test]
fn backends_without_a_cluster_make_a_pool_named_default() {
    let flags = flags::Front {
        backend: vec![
            "10.0.0.1:80,weight=3".to_owned(),
            "10.0.0.2:80,backup".to_owned(),
        ],
        ..flags::Front::default()
    };

    let front = read_front(flags, &[], "").expect("it is right");

    let pool = &front.clusters[0].pool;
    assert_eq!(pool.name, "default");
    assert_eq!(pool.backends.len(), 2);
    assert_eq!(
        (pool.backends[0].weight, pool.backends[1].backup),
        (3, true)
    );
}

#[test]
fn a_file_sets_every_kind_of_value() {
    let file = r#"
        [cluster.web]
        default_port = 8_080
        lost_keep = "10m"
        backend_networks = ["10.0.0.0/8", "fd00::/8"]
        max_in_flight = 40
        queue = 0
        queue_timeout = "250ms"
        check = { spec = "tcp", interval = "2s", rise = 2, host = "example.org" }
        backend = [{ address = "web.internal:80", weight = 5, tier = 1, backup = true }]
        [timeouts]
        drain = "0s"
        [limits]
        retry_percent = 0
        [listener.main]
        listen = ["10.0.0.1:80", "[fd00::1]:80"]
    "#;

    let front = read_front(flags::Front::default(), &[], file).expect("it is right");

    let cluster = &front.clusters[0];
    assert_eq!(cluster.pool.default_port, 8080);
    assert_eq!(cluster.pool.lost_keep, Duration::from_secs(600));
    assert_eq!(cluster.pool.check, CheckSpec::Tcp { port: None });
    assert_eq!(cluster.check.interval, Duration::from_secs(2));
    assert_eq!((cluster.check.rise, cluster.check.fall), (2, 2));
    assert_eq!(cluster.check.host.as_deref(), Some("example.org"));
    assert_eq!(cluster.backend_networks.len(), 2);
    let limits = &cluster.pool.limits;
    assert_eq!((limits.max_in_flight, limits.queue), (40, 0));
    assert_eq!(limits.queue_timeout, Duration::from_millis(250));
    assert_eq!(cluster.pool.backends[0].tier, 1);
    assert_eq!(front.proxy.timeouts.drain, Duration::ZERO);
    assert_eq!(front.proxy.limits.retry_percent, 0);
    assert!(
        matches!(&front.proxy.listeners[0].listen, Listen::Exactly(addresses) if addresses.len() == 2)
    );
}

#[test]
fn what_has_no_effect_yet_is_said_only_if_it_was_asked_for() {
    let file = "[cluster.web]\n[dns]\nlisten = \"10.0.0.1:53\"\n[[route]]\npath = [\"/api\"]\ncluster = \"api\"\n";
    let mut flags = flags::Front::default();
    flags.common.discover = Some("web".to_owned());

    let front = read_front(flags, &[], file).expect("it is right");

    let warnings = [
        "lb.toml:3:10: dns.listen has no effect yet",
        "lb.toml:4:1: route[0] has no effect yet: the first pool takes all requests",
    ];
    assert_eq!(front.warnings, warnings);
}

#[test]
fn a_queue_that_nobody_will_wait_in_is_told() {
    let of = |keys: &str| {
        let file = format!("[cluster.web]\n{keys}\n");
        read_front(flags::Front::default(), &[], &file)
            .expect("it is right")
            .warnings
    };

    assert_eq!(
        of("queue = 7"),
        ["lb.toml:2:9: cluster.web.queue has no effect, since nobody waits: set max_in_flight too"]
    );
    assert!(of("queue = 7\nmax_in_flight = 1").is_empty());
    assert!(of("queue = 1000").is_empty(), "the default");
}

#[test]
fn a_variable_that_is_nearly_ours_is_told() {
    let variables = [
        ("LB_CLUTSER", "web"),
        ("LB_SERVICE_HOST", "10.0.0.1"),
        ("LB_PORT", "tcp://10.0.0.1:80"),
    ];

    let front = read_front(cluster("web"), &variables, "").expect("it is right");
    let agent = read_agent(role("web"), &variables, "").expect("it is right");

    assert_eq!(
        front.warnings,
        ["LB_CLUTSER is not known; did you mean LB_CLUSTER?"]
    );
    assert_eq!(agent.services[0].port, None);
    assert_eq!(
        agent.warnings,
        ["LB_PORT=tcp://10.0.0.1:80 was set by Kubernetes for a service named lb; ignored"]
    );
}

#[test]
fn tags_of_the_file_are_joined_by_those_of_flags() {
    let mut flags = cluster("web");
    flags.common.tag = vec!["zone=b".to_owned()];

    let front = read_front(flags, &[], "[gossip.tags]\nzone = \"a\"\nversion = \"7\"\n")
        .expect("it is right");

    let tags: Vec<String> = front
        .gossip
        .tags
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(tags, ["v=1", "version=7", "zone=b"]);
}

#[test]
fn a_machine_without_a_name_gets_one_that_is_unique() {
    let nameless = Surroundings {
        hostname: "localhost".to_owned(),
        dice: 0xbeef,
        ..Surroundings::default()
    };

    let front = front(&cluster("web"), &nameless).expect("it is right");

    assert_eq!(front.gossip.node, "localhost-7946-beef");
}

#[test]
fn an_agent_announces_its_services() {
    let flags = flags::Agent {
        port: Some("8080".to_owned()),
        weight: Some("5".to_owned()),
        backup: Some("true".to_owned()),
        service: vec!["api=9000;w=3".to_owned()],
        ..role("web")
    };

    let agent = read_agent(flags, &[("LB_TAG", "zone=a,version=2")], "").expect("it is right");

    assert_eq!(agent.services.len(), 2);
    assert_eq!(agent.discover.as_deref(), Some("web"));
    let tag = |name: &str| agent.gossip.tags.get(name).map(String::as_str);
    assert_eq!(
        (tag("role"), tag("port"), tag("weight"), tag("backup")),
        (Some("web"), Some("8080"), Some("5"), Some("true"))
    );
    assert_eq!(
        (tag("zone"), tag("version"), tag("v")),
        (Some("a"), Some("2"), Some("1"))
    );
    assert!(tag("svc.api").is_some_and(|text| text.starts_with("9000")));
}

#[test]
fn an_agent_may_say_its_service_as_serf_users_do() {
    let mut flags = flags::Agent::default();
    flags.common.tag = vec!["role=web".to_owned(), "port=8080".to_owned()];

    let agent = read_agent(flags, &[], "").expect("it is right");

    assert_eq!(agent.services.len(), 1);
    assert_eq!(
        (agent.services[0].name.as_str(), agent.services[0].port),
        ("web", Some(8080))
    );
    assert_eq!(agent.warnings, Vec::<String>::new());
}

#[test]
fn state_is_kept_in_the_usual_place_in_another_or_nowhere() {
    let state = |dir: Option<&str>, file: &str| {
        let mut flags = cluster("web");
        flags.common.state_dir = dir.map(str::to_owned);
        read_front(flags, &[], file).map(|front| front.state)
    };

    assert_eq!(state(None, ""), Ok(Some("/var/lib/lb".into())));
    assert_eq!(
        state(None, "[state]\ndir = \"/srv\""),
        Ok(Some("/srv".into()))
    );
    assert_eq!(state(Some("none"), "[state]\ndir = \"/srv\""), Ok(None));
    assert!(state(Some(""), "").is_err());
}
