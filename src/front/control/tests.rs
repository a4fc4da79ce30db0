use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::announce::{CheckSpec, Proto};
use crate::config::Cluster;
use crate::discovery::Trust;
use crate::front::secure::Checks;
use crate::gossip::core::member::{Member, Status};
use crate::gossip::core::serf::tags::Encoded;
use crate::{handlers, pool};

/// Far beyond any wait that should be needed.
const DEADLINE: Duration = Duration::from_secs(20);

fn plan() -> PoolPlan {
    PoolPlan {
        cluster: Cluster {
            pool: pool::registry::Settings {
                name: "web".to_owned(),
                check: CheckSpec::Tcp { port: None },
                proto: Proto::Http,
                default_port: 80,
                lost_keep: DEADLINE,
                ejection: pool::ejection::Settings::default(),
                hop: pool::hop::Settings::default(),
                limits: pool::queue::Settings::default(),
                backends: Vec::new(),
            },
            check: health::Settings {
                interval: Duration::from_millis(10),
                ..health::Settings::default()
            },
            tls: Arc::default(),
            backend_networks: Vec::new(),
        },
        statics: Vec::new(),
        secure: Arc::new(Checks(Arc::default())),
        trust: Trust {
            networks: Vec::new(),
            loopback: true,
            own: Vec::new(),
        },
    }
}

/// One web node that serves at `address`.
fn members(address: SocketAddr) -> Arc<Members> {
    let tags = [
        ("role", "web".to_owned()),
        ("port", address.port().to_string()),
    ];
    let tags: BTreeMap<String, String> = tags
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let member = Member {
        name: "web1".into(),
        address: SocketAddr::new(address.ip(), 7946),
        tags: Encoded::of(&tags),
        status: Status::Alive,
        suspect: false,
        incarnation: 1,
        joined: 1,
        since: clock::now(),
        versions: [1, 5, 2, 2, 5, 4],
    };
    Arc::new(Members {
        generation: 1,
        by_name: [Arc::new(member)].into_iter().collect(),
    })
}

/// A running control task, and what feeds it.
struct Front {
    gossip: watch::Sender<Arc<Members>>,
    // The task ends with it.
    _orders: mpsc::Sender<Order>,
    _feedback: mpsc::Sender<Feedback>,
    pool: Arc<pool::snapshot::Pool>,
    task: JoinHandle<()>,
}

impl Front {
    fn start(address: SocketAddr) -> Self {
        let (gossip, members) = watch::channel(members(address));
        let (feedback_sender, feedback) = mpsc::channel(1);
        let (order_sender, orders) = mpsc::channel(1);
        let inputs = Inputs {
            members,
            acks: Acks::default(),
            feedback,
            orders,
            memory: Memory::new(clock::now(), None, None, watch::channel("front".into()).1),
            handlers: Handlers::new(handlers::Settings::default(), handlers::Who::default),
        };
        let timeline = Arc::new(Mutex::new(Timeline::new(16)));
        let control = Control::new(vec![plan()], inputs, timeline);
        Self {
            pool: Arc::clone(&control.registry.pools()[0]),
            gossip,
            _orders: order_sender,
            _feedback: feedback_sender,
            task: tokio::spawn(control.run()),
        }
    }

    async fn until_in(pool: &pool::snapshot::Pool, count: usize) {
        let mut changes = pool.changes();
        let settled = async {
            while pool.snapshot.load().active.len() != count {
                changes.changed().await.expect("the pool is there");
            }
        };
        let settled = timeout(DEADLINE, settled).await;
        assert!(settled.is_ok(), "never {count} in rotation");
    }
}

#[tokio::test]
async fn a_web_goes_out_and_comes_back_by_its_checks_after_the_gossip_task_died() {
    let listening = TcpListener::bind("127.9.8.6:0").await.unwrap();
    let address = listening.local_addr().unwrap();
    let front = Front::start(address);
    Front::until_in(&front.pool, 1).await;

    drop(front.gossip);
    drop(listening);
    Front::until_in(&front.pool, 0).await;
    let again = TcpSocket::new_v4().unwrap();
    again.set_reuseaddr(true).unwrap();
    again.bind(address).unwrap();
    let _listening = again.listen(8).unwrap();

    Front::until_in(&front.pool, 1).await;
    assert!(!front.task.is_finished());
}
