use std::os::unix::fs::symlink;

use super::*;

fn members(names: &[&str]) -> Vec<(String, IpAddr)> {
    let member = |(at, name): (usize, &&str)| {
        let ip = IpAddr::from([10, 0, 0, u8::try_from(at + 1).expect("few")]);
        ((*name).to_owned(), ip)
    };
    names.iter().enumerate().map(member).collect()
}

fn block(lines: &str) -> String {
    format!("{BEGIN_LINE}\n{lines}{END}\n")
}

fn with(text: &str, names: &[&str]) -> String {
    String::from_utf8(with_block(text.as_bytes(), &members(names))).expect("text")
}

#[test]
fn the_block_is_kept_where_it_is_and_nothing_else_is_touched() {
    let own = block("10.0.0.1\tweb1\n10.0.0.2\tweb2\n");
    let old = block("10.0.0.9\told\n");
    for (before, expected) in [
        (String::new(), own.clone()),
        (
            "127.0.0.1 localhost\n".to_owned(),
            format!("127.0.0.1 localhost\n{own}"),
        ),
        (
            "127.0.0.1 localhost".to_owned(),
            format!("127.0.0.1 localhost\n{own}"),
        ),
        (format!("a\n{old}b\n"), format!("a\n{own}b\n")),
        (format!("a\n{old}\n\nb"), format!("a\n{own}\n\nb")),
        (format!("{old}a\n{old}b\n"), format!("{own}a\nb\n")),
        (format!("a\n{BEGIN}\nb\n"), format!("a\n{own}b\n")),
        (
            format!("a\n{BEGIN}\nb\n{old}c\n"),
            format!("a\n{own}b\nc\n"),
        ),
        (format!("a\n{END}\n"), format!("a\n{END}\n{own}")),
        (own.clone(), own.clone()),
    ] {
        assert_eq!(with(&before, &["web1", "web2"]), expected, "{before:?}");
    }
}

#[test]
fn bytes_that_are_no_text_stay_as_they_are() {
    let text = b"# caf\xe9\n127.0.0.1\tlocalhost\n";

    let after = with_block(text, &members(&["web1"]));

    assert!(after.starts_with(text));
}

#[test]
fn a_name_that_the_operator_gave_is_left_out() {
    let text = "10.9.9.9 WEB1 # not web2\n";

    assert_eq!(
        with(text, &["web1", "web2"]),
        format!("{text}{}", block("10.0.0.2\tweb2\n"))
    );
}

#[test]
fn only_names_that_harm_nobody_are_written() {
    for name in ["web1", "web-1.internal", "WEB_1", "1und1"] {
        assert!(is_host_name(name), "{name:?}");
    }
    for name in [
        "",
        "localhost",
        "LOCALHOST",
        "x.localhost",
        "localhost.localdomain",
        "10.0.0.1",
        "::1",
        "a#b",
        "é",
        "-x",
        ".x",
    ] {
        assert!(!is_host_name(name), "{name:?}");
    }
}

#[test]
fn the_file_keeps_its_mode_and_a_link_stays_a_link() {
    let directory = tempfile::tempdir().expect("a directory");
    let (real, link) = (
        directory.path().join("real"),
        directory.path().join("hosts"),
    );
    fs::write(&real, "127.0.0.1 localhost\n").expect("it is written");
    fs::set_permissions(&real, Permissions::from_mode(0o640)).expect("it is ours");
    symlink(&real, &link).expect("a link");

    update(&link, &members(&["web1"])).expect("it can be written");

    assert!(
        fs::symlink_metadata(&link)
            .expect("it is there")
            .is_symlink()
    );
    let mode = fs::metadata(&real)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o640);
    let text = fs::read_to_string(&real).expect("it is text");
    assert!(text.ends_with(&block("10.0.0.1\tweb1\n")), "{text}");
    let files = fs::read_dir(directory.path()).expect("it is there").count();
    assert_eq!(files, 2, "a fresh file was left behind");
}

#[test]
fn a_missing_file_is_made_and_an_unchanged_one_is_not_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("hosts");
    update(&path, &members(&["web1"])).expect("it can be written");
    let first = fs::metadata(&path).expect("it is there").ino();

    update(&path, &members(&["web1"])).expect("it need not be written");
    assert_eq!(fs::metadata(&path).expect("it is there").ino(), first);

    update(&path, &members(&["web2"])).expect("it can be written");
    assert_ne!(fs::metadata(&path).expect("it is there").ino(), first);
}

#[test]
fn what_cannot_be_replaced_is_written_in_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("hosts");
    fs::write(
        &path,
        format!("a\n{}b\n", block(&"10.0.0.1\tx\n".repeat(50))),
    )
    .expect("it is written");
    let file = fs::metadata(&path).expect("it is there").ino();

    in_place(&path, &with_block(b"a\nb\n", &members(&["web1"]))).expect("it can be written");

    assert_eq!(fs::metadata(&path).expect("it is there").ino(), file);
    let text = fs::read_to_string(&path).expect("it is text");
    assert_eq!(text, format!("a\nb\n{}", block("10.0.0.1\tweb1\n")));
}
