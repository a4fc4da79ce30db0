//! The sample files hold every key with its default.

use super::*;

/// `text` with its examples, the lines behind a single `# `, made live.
fn with_examples(text: &str) -> String {
    let is_setting = |line: &str| {
        (line.starts_with('[') && line.ends_with(']'))
            || line.split_once(" = ").is_some_and(|(key, _)| {
                key.bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            })
    };
    text.lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(example) if is_setting(example) => example,
            _ => line,
        })
        .collect::<Vec<_>>()
        .join("\n")
}

const FRONT_SAMPLE: &str = include_str!("../../../config/lb.toml");
const AGENT_SAMPLE: &str = include_str!("../../../config/agent.toml");

#[test]
fn the_sample_of_the_front_says_the_defaults() {
    let plain = read_front(cluster("web"), &[], "").expect("it is right");
    let sample = read_front(flags::Front::default(), &[], FRONT_SAMPLE).expect("it is right");

    let given = plain.given.clone();
    assert_eq!(Front { given, ..sample }, plain);
}

#[test]
fn the_sample_of_a_database_is_right() {
    let sample = read_front(
        flags::Front::default(),
        &[],
        include_str!("../../../config/tcp.toml"),
    );

    let sample = sample.expect("it is right");
    assert_eq!(sample.warnings, [""; 0]);
    assert_eq!(sample.clusters[0].pool.proto, crate::announce::Proto::Tcp);
}

#[test]
fn the_sample_of_the_agent_says_the_defaults() {
    let plain = read_agent(flags::Agent::default(), &[], "").expect("it is right");
    let sample = read_agent(flags::Agent::default(), &[], AGENT_SAMPLE).expect("it is right");

    assert_eq!(sample, plain);
}

/// Every key that is asked for stands in the sample, and every key of the sample is asked for.
fn compare_keys(sample: &str, read: impl Fn(Table<'_>, &Faults)) {
    let text = with_examples(sample);
    let document = Document::parse("sample.toml", &text).expect("the examples are TOML");
    let ((), faults) = document.read(read);
    let errors = faults
        .or(())
        .map_or_else(|errors| errors.to_string(), |()| String::new());

    assert!(!errors.contains("is not a key"), "{errors}");
    let written: Vec<&str> = text
        .lines()
        .map(|line| line.split_once(" = ").map_or(line, |(key, _)| key))
        .collect();
    let table = |key: &str| {
        let last = key.rsplit('.').next().unwrap_or_default();
        written.iter().any(|line| {
            let name = line.trim_matches(['[', ']']);
            line.starts_with('[') && (name.split('.').any(|part| part == last))
        })
    };
    for key in document.known() {
        let last = key.rsplit('.').next().unwrap_or_default();
        assert!(
            written.contains(&last) || table(&key),
            "{key} is missing in the sample"
        );
    }
}

#[test]
fn the_sample_of_the_front_has_every_key() {
    compare_keys(FRONT_SAMPLE, |root, faults| {
        front::read(
            &flags::Front::default(),
            &around(&[]),
            Purpose::Run,
            root,
            faults,
        );
    });
}

#[test]
fn the_sample_of_the_agent_has_every_key() {
    compare_keys(AGENT_SAMPLE, |root, faults| {
        agent::read(&flags::Agent::default(), &around(&[]), root, faults);
    });
}
