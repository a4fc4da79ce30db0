//! The built programs, run as a user runs them: what they say, where, and how they exit.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;

fn lb() -> Command {
    common::bare(env!("CARGO_BIN_EXE_lb"))
}

fn agent() -> Command {
    common::bare(env!("CARGO_BIN_EXE_lb-agent"))
}

struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(command: &mut Command) -> Said {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the program starts");
    Said {
        code: status.code(),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

fn sample(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("config")
        .join(name)
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes())
        .expect("the file is written");
    file
}

#[test]
fn a_usage_error_of_the_front_is_one_line_and_exit_2() {
    let cases: &[(&[&str], &str)] = &[
        (
            &[],
            "lb: nothing to balance: name the pool, like `lb --cluster web`, or give --backend HOST:PORT; `lb demo` shows it without either",
        ),
        (
            &["--clutser", "web"],
            "lb: --clutser: unknown flag; did you mean --cluster?; `lb --help` shows all",
        ),
        (
            &["--cluster"],
            "lb: --cluster <NAME>: a value is missing; `lb --help` shows all",
        ),
        (
            &["dmeo"],
            "lb: dmeo: unknown verb; did you mean demo?; `lb --help` shows all",
        ),
        (
            &["--cluster", "web", "--weight", "2"],
            "lb: --weight: unknown flag; `lb --help` shows all",
        ),
        (
            &["--cluster", "web", "--workers", "-1"],
            "lb: --workers -1: workers is a whole number from 0 to 1024",
        ),
        (
            &[
                "--cluster",
                "web",
                "--bind",
                "10.0.0.1:80",
                "--bind",
                "10.0.0.2:80",
            ],
            "lb: --bind <IP[:PORT]>: is given twice, or beside what excludes it; `lb --help` shows all",
        ),
        (
            &["events"],
            "lb: events: unknown verb; did you mean event?; `lb --help` shows all",
        ),
        (&["drain", "web1"], "lb: drain: not built yet"),
        (
            &["check-config"],
            "lb: <FILE>: is missing; `lb --help` shows all",
        ),
        (
            &["demo", "--nodes", "0"],
            "lb demo: --nodes 0: from 1 to 50",
        ),
        (
            &["demo", "--nodes", "x"],
            "lb: invalid value 'x' for '--nodes <N>': invalid digit found in string; `lb --help` shows all",
        ),
        (
            &["--cluster", "web", "demo"],
            "lb: a verb takes no flags of the front; `lb --help` shows all",
        ),
        (
            &["--config", "/nonexistent/lb.toml"],
            "lb: reading /nonexistent/lb.toml: no such file",
        ),
        (
            &["--cluster", "web", "--encrypt-key-file", "/nonexistent/k"],
            "lb: --encrypt-key-file /nonexistent/k: no such file; write one base64 key a line, of 16, 24 or 32 bytes, as `serf keygen` makes them",
        ),
    ];
    for (flags, line) in cases {
        let said = run(lb().args(*flags));

        assert_eq!(said.stderr, format!("{line}\n"), "of {flags:?}");
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (Some(2), ""),
            "of {flags:?}"
        );
    }
}

#[test]
fn a_usage_error_of_the_agent_is_one_line_and_exit_2() {
    let note = format!("note={}", "x".repeat(600));
    let cases: &[(&[&str], &str)] = &[
        (
            &["--role", "web", "--weight", "2000"],
            "lb-agent: --weight 2000: weight is 1 to 1000; ",
        ),
        (
            &["--rol", "web"],
            "lb-agent: --rol: unknown flag; did you mean --role?",
        ),
        (&["--cluster", "web"], "lb-agent: --cluster: unknown flag"),
        (&["--role", "web", "--tag", &note], "lb-agent: tags take 6"),
        (
            &["members", "--status", "("],
            "lb-agent: (: is no regular expression: ",
        ),
        (
            &["mebmers"],
            "lb-agent: mebmers: unknown verb; did you mean members?",
        ),
        (&["event"], "lb-agent: <NAME>: is missing"),
        (&["query", "x", "-timeout=5"], "lb-agent: "),
        (&["tags"], "lb-agent: --set <KEY=VALUE>: is missing"),
        (&["agent", "-node"], "lb-agent: -node: a value is missing"),
        (
            &["--role", "web", "--rpc-addr", "0.0.0.0:7373"],
            "lb-agent: --rpc-addr 0.0.0.0:7373: lets whoever reaches it",
        ),
    ];
    for (flags, beginning) in cases {
        let said = run(agent().args(*flags));

        assert!(
            said.stderr.starts_with(beginning),
            "{} of {flags:?}",
            said.stderr
        );
        assert_eq!(
            said.stderr.lines().count(),
            1,
            "{} of {flags:?}",
            said.stderr
        );
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (Some(2), ""),
            "of {flags:?}"
        );
    }
}

#[test]
fn all_faults_of_flags_environment_and_file_are_told_at_once() {
    let file = file("[timeouts]\ndrain = 5\n");

    let said = run(lb()
        .args(["--cluster", "web", "--workers", "many", "--config"])
        .arg(file.path())
        .env("LB_ADMIN", "here"));

    let lines: Vec<&str> = said.stderr.lines().collect();
    assert_eq!(lines.len(), 3, "{}", said.stderr);
    assert!(lines[0].starts_with("lb: --workers many: "));
    assert!(lines[1].starts_with("lb: LB_ADMIN=here: "));
    assert!(lines[2].starts_with(&format!(
        "lb: {}:2:9: timeouts.drain = 5: ",
        file.path().display()
    )));
    assert_eq!(said.code, Some(2));
}

#[test]
fn help_names_every_flag_with_default_and_variable() {
    let said = run(lb().arg("--help"));

    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    for part in [
        "--cluster",
        "LB_CLUSTER",
        "0.0.0.0:7946",
        "127.0.0.1:9901",
        "LB_DNS_DOMAIN",
        "check-config",
        "Exit codes",
    ] {
        assert!(said.stdout.contains(part), "{part} in {}", said.stdout);
    }
    assert!(!said.stdout.contains("demo-web"));
    let said = run(agent().arg("--help"));
    assert_eq!(said.code, Some(0));
    for part in ["--role", "LB_ROLE", "[default: off]", "[default: 1]"] {
        assert!(said.stdout.contains(part), "{part} in {}", said.stdout);
    }
}

#[test]
fn version_is_said_on_stdout() {
    for (mut program, name) in [(lb(), "lb"), (agent(), "lb-agent")] {
        let said = run(program.arg("--version"));

        assert_eq!(
            said.stdout,
            format!("{name} {}\n", env!("CARGO_PKG_VERSION"))
        );
        assert_eq!(said.code, Some(0));
    }
}

#[test]
fn serf_s_verb_says_the_version_and_the_protocol() {
    for (mut program, name) in [(lb(), "lb"), (agent(), "lb-agent")] {
        let said = run(program.arg("version"));

        assert_eq!(
            said.stdout,
            format!(
                "{name} {}\nAgent Protocol: 5 (Understands back to: 2)\n",
                env!("CARGO_PKG_VERSION")
            )
        );
        assert_eq!(said.code, Some(0));
    }
}

#[test]
fn a_new_key_is_thirty_two_bytes_in_base64_and_another_each_time() {
    let (one, other) = (run(lb().arg("keygen")), run(agent().arg("keygen")));

    for said in [&one, &other] {
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
        assert_eq!(said.stdout.trim_end().len(), 44, "{}", said.stdout);
        assert!(said.stdout.ends_with("=\n"), "{}", said.stdout);
    }
    assert_ne!(one.stdout, other.stdout);
}

#[test]
fn an_rpc_address_where_nobody_answers_is_exit_5() {
    let free = common::free_address([127, 0, 0, 1]).to_string();
    let verbs: &[&[&str]] = &[
        &["members"],
        &["join", "10.0.0.1"],
        &["leave"],
        &["force-leave", "x"],
        &["event", "x"],
        &["query", "x"],
        &["monitor"],
        &["tags", "--set", "a=b"],
        &["keys", "--list"],
        &["reachability"],
        &["rtt", "x"],
        &["info"],
    ];
    for verb in verbs {
        let said = run(agent().args(*verb).args(["--rpc-addr", &free]));

        assert_eq!((said.code, said.stdout.as_str()), (Some(5), ""), "{verb:?}");
        assert!(
            said.stderr.starts_with(&format!(
                "lb-agent: nobody answers at {free}: connection refused; "
            )),
            "{}",
            said.stderr
        );
    }
    for variable in ["LB_RPC_ADDR", "SERF_RPC_ADDR"] {
        let said = run(lb().arg("members").env(variable, &free));
        assert_eq!(said.code, Some(5), "{}", said.stderr);
    }
}

#[test]
fn an_rpc_address_of_another_program_is_exit_1() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        stream
            .write_all(b"SSH-2.0-OpenSSH_9.2\r\n")
            .expect("it reads");
        // Until the client goes, so that nothing it sent is answered by a reset.
        let _ = stream.read_to_end(&mut Vec::new());
    });

    let said = run(agent().args(["info", "-rpc-addr", &address]));

    answering.join().expect("it answered");
    assert_eq!(said.code, Some(1), "{}", said.stderr);
    let begin = format!("lb-agent: connecting: {address} does not speak Serf's RPC: ");
    assert!(said.stderr.starts_with(&begin), "{}", said.stderr);
}

#[test]
fn flags_of_serf_may_have_one_dash_and_a_payload_any() {
    let free = common::free_address([127, 0, 0, 1]);
    for flags in [
        &["members", "-status=alive", "-detailed", "-tag", "role=web"][..],
        &["event", "-coalesce=false", "x", "-not-a-flag"],
        &["query", "-no-ack", "-timeout=2s", "-relay-factor", "2", "x"],
        &["keys", "-list"],
        &["force-leave", "-prune", "x"],
    ] {
        let said = run(agent().args(flags).arg(format!("-rpc-addr={free}")));

        assert_eq!(said.code, Some(5), "{flags:?}: {}", said.stderr);
    }
}

#[test]
fn check_config_sums_up_a_right_file() {
    let path = sample("lb.toml");
    let said = run(lb().arg("check-config").arg(&path));
    assert_eq!(
        said.stdout,
        format!("{}: ok: 1 pool, 1 listener\n", path.display())
    );
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));

    let two = file("[cluster.web]\n[cluster.api]\n[dns]\nlisten = \"127.0.0.1:53\"\n");
    let said = run(lb().arg("check-config").arg(two.path()));
    assert_eq!(
        said.stdout,
        format!("{}: ok: 2 pools, 1 listener\n", two.path().display())
    );
    assert_eq!(
        said.stderr,
        format!(
            "{}:4:10: dns.listen has no effect yet\n",
            two.path().display()
        )
    );

    let agent = file("[agent]\nrole = \"web\"\nservices = [\"api=81\"]\n");
    let said = run(lb().args(["check-config", "--agent"]).arg(agent.path()));
    assert_eq!(
        said.stdout,
        format!("{}: ok: 2 services\n", agent.path().display())
    );
}

#[test]
fn check_config_tells_every_fault_in_an_editor_s_form() {
    let file = file("[cluster.web]\nport = 80\ncheck.rise = 0\n");

    let said = run(lb()
        .arg("check-config")
        .arg(file.path())
        .env("LB_WORKERS", "ignored"));

    let path = file.path().display();
    assert!(
        said.stderr.starts_with(&format!(
            "{path}:2:1: cluster.web.port: is not a key here; "
        )),
        "{}",
        said.stderr
    );
    assert!(
        said.stderr
            .contains(&format!("\n{path}:3:14: cluster.web.check.rise = 0: ")),
        "{}",
        said.stderr
    );
    assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""));
}

/// Answers one request with `body`; gives the request's first line back.
fn admin_once(status: &'static str, body: &'static str) -> (String, thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let answering = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
            head.push(byte[0]);
        }
        write!(
            stream,
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n\r\n{body}"
        )
        .expect("it reads");
        String::from_utf8_lossy(&head)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    });
    (address, answering)
}

const POOLS: &str = r#"{"pools":[{"name":"web","backends":[{"node":"web1","service":"web","address":"10.0.0.1:80","state":"up","in_rotation":true,"reason":"check passed","weight":1,"tier":0,"backup":false,"since":"2026-01-02T03:04:05Z","since_s":7}]}]}"#;

#[test]
fn pools_are_asked_of_the_admin_address() {
    let (address, answering) = admin_once("200 OK", POOLS);
    let said = run(lb().args(["pools", "--admin", &address]));
    assert_eq!(
        answering.join().expect("it answered"),
        "GET /api/v1/pools HTTP/1.0"
    );
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    assert!(
        said.stdout.contains("web1") && said.stdout.contains("check passed"),
        "{}",
        said.stdout
    );

    let (address, answering) = admin_once("200 OK", POOLS);
    let said = run(lb().args(["pools", "--json"]).env("LB_ADMIN", &address));
    answering.join().expect("it answered");
    assert_eq!(said.stdout.trim_end(), POOLS);
}

#[test]
fn an_admin_address_where_nobody_answers_is_exit_5() {
    let free = common::free_address([127, 0, 0, 1]);
    assert!(TcpStream::connect(free).is_err());

    let said = run(lb().args(["pools", "--admin", &free.to_string()]));

    assert_eq!((said.code, said.stdout.as_str()), (Some(5), ""));
    assert!(
        said.stderr
            .starts_with(&format!("lb: nobody answers at {free}: ")),
        "{}",
        said.stderr
    );
}

#[test]
fn an_admin_address_of_another_program_is_exit_1() {
    let (address, answering) = admin_once("404 Not Found", "no");

    let said = run(lb().args(["pools", "--admin", &address]));

    answering.join().expect("it answered");
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("answers 404"), "{}", said.stderr);
}

#[test]
fn a_front_that_waits_for_a_busy_port_hears_ctrl_c() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let busy = holder.local_addr().expect("its address").to_string();
    let mut child = lb()
        .args(["--cluster", "web", "--listen", &busy, "--admin", "off"])
        .args(["--bind", "127.0.0.1:0", "--state-dir", "none"])
        .args(["--discover", "off"])
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("lb starts");
    let pid = rustix::process::Pid::from_child(&child);
    let status = PathBuf::from(format!("/proc/{}/status", child.id()));
    // Once SIGINT (bit 1) is caught, the front is past its signal handlers and waits for the port.
    let deadline = started();
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:\t"));
        if caught.is_some_and(|mask| u64::from_str_radix(mask, 16).is_ok_and(|bits| bits & 2 != 0))
        {
            break;
        }
        assert!(deadline.elapsed().as_secs() < 10, "no handler: {text}");
        thread::yield_now();
    }

    let asked = started();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let ended = child.wait().expect("it ends");

    // The port is retried for ten seconds.
    assert!(asked.elapsed().as_secs() < 7, "after {:?}", asked.elapsed());
    assert_eq!(ended.code(), Some(0));
    drop(holder);
}

#[expect(clippy::disallowed_methods, reason = "tests read the real clock")]
fn started() -> std::time::Instant {
    std::time::Instant::now()
}
