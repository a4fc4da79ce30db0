//! Listeners that relay, pools that are relayed to, and who introduces whom.

use super::*;
use crate::announce::Proto;
use crate::pool::hop::OnDown;
use crate::proxy::Mode;
use crate::proxy_header::Version;

fn read(text: &str) -> Result<Front, String> {
    read_front(flags::Front::default(), &[], text)
}

/// Protocol and check of each pool, in order.
fn pools(text: &str) -> Vec<(Proto, String)> {
    let front = read(text).expect("it is right");
    let pools = front.clusters.into_iter().map(|cluster| cluster.pool);
    pools
        .map(|pool| (pool.proto, pool.check.to_string()))
        .collect()
}

#[test]
fn a_pool_that_is_only_relayed_to_is_of_proto_tcp_and_checked_by_a_connect() {
    let two = "[listener.web]\nlisten = [\":80\"]\n[listener.db]\nlisten = [\":5432\"]\nmode = \"tcp\"\ncluster = \"db\"\n[cluster.web]\n";
    assert_eq!(
        pools(&format!("{two}[cluster.db]\n")),
        [
            (Proto::Http, "http:/".to_owned()),
            (Proto::Tcp, "tcp".to_owned())
        ]
    );
    let checked = format!("{two}[cluster.db]\ncheck.spec = \"http:8008/primary\"\n");
    assert_eq!(
        pools(&checked)[1],
        (Proto::Tcp, "http:8008/primary".to_owned())
    );
    // The first pool takes what comes on listeners that name none.
    assert_eq!(
        pools("[listener.db]\nmode = \"tcp\"\n[cluster.db]\n"),
        [(Proto::Tcp, "tcp".to_owned())]
    );
}

#[test]
fn a_pool_of_requests_may_be_relayed_to_as_well() {
    let text = "[listener.web]\nlisten = [\":80\"]\n[listener.raw]\nlisten = [\":81\"]\nmode = \"tcp\"\n[cluster.web]\n";
    assert_eq!(pools(text), [(Proto::Http, "http:/".to_owned())]);

    let said = "[listener.raw]\nmode = \"tcp\"\n[cluster.web]\nproto = \"http\"\n";
    assert_eq!(pools(said), [(Proto::Http, "http:/".to_owned())]);
}

#[test]
fn requests_are_not_sent_to_a_pool_of_bytes() {
    let error = read("[listener.web]\nlisten = [\":80\"]\n[cluster.db]\nproto = \"tcp\"\n");

    assert_eq!(
        error.unwrap_err(),
        "lb.toml:4:9: cluster.db.proto = \"tcp\": takes no requests, and listener web sends it some; \
         write mode = \"tcp\" there, or name another pool by cluster"
    );
    let implied = read("[cluster.db]\nproto = \"tcp\"\n");
    assert!(implied.is_err(), "the listener that is there unasked");
}

#[test]
fn a_listener_that_wants_proxy_headers_says_from_whom() {
    let front = read(
        "[listener.web]\nproxy_protocol = true\nproxy_protocol_from = [\"10.0.0.0/8\"]\n[cluster.web]\n",
    );
    let listener = &front.expect("it is right").proxy.listeners[0];
    let network = "10.0.0.0/8".parse().expect("a network");
    assert_eq!(listener.proxy_protocol, Some(vec![network]));
    assert_eq!(listener.mode, Mode::Http);

    let error = read("[listener.web]\nproxy_protocol = true\n[cluster.web]\n").unwrap_err();
    assert!(
        error.starts_with(
            "lb.toml:2:18: listener.web.proxy_protocol = true: needs the networks of those who send headers"
        ),
        "{error}"
    );
    for without in ["", "proxy_protocol = false\n"] {
        let text = format!(
            "[listener.web]\n{without}proxy_protocol_from = [\"10.0.0.0/8\"]\n[cluster.web]\n"
        );
        let line = 2 + without.lines().count();
        let error = read(&text).unwrap_err();
        assert_eq!(
            error,
            format!(
                "lb.toml:{line}:24: listener.web.proxy_protocol_from = \"10.0.0.0/8\": says who may send PROXY headers, and none are \
                 expected; write proxy_protocol = true beside it, or leave it out"
            )
        );
    }
}

#[test]
fn a_pool_says_what_its_connections_begin_with_and_what_ends_them() {
    let text =
        "[cluster.web]\nsend_proxy = \"v2\"\non_down = \"keep\"\n[timeouts]\ntcp_idle = \"5m\"\n";
    let front = read(text).expect("it is right");
    let cluster = &front.clusters[0];
    assert_eq!(cluster.pool.hop.send_proxy, Some(Version::V2));
    assert_eq!(cluster.pool.hop.on_down, OnDown::Keep);
    assert_eq!(cluster.check.send_proxy, Some(Version::V2));
    assert_eq!(front.proxy.timeouts.tcp_idle, Duration::from_secs(300));

    let error = read("[cluster.web]\nsend_proxy = \"v3\"\non_down = \"drop\"\n").unwrap_err();
    assert_eq!(
        error,
        "lb.toml:2:14: cluster.web.send_proxy = \"v3\": is not a version of the PROXY protocol; write \"v1\", \"v2\" or \"off\"\n\
         lb.toml:3:11: cluster.web.on_down = \"drop\": is neither \"close\" nor \"keep\""
    );
}
