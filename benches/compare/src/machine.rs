//! Where and with what the figures were made.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{During, Failure};

/// The repository's root, two folders above this package.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The first line a command prints, on either stream; empty where it is missing.
fn line(program: &Path, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
    else {
        return String::new();
    };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().next().unwrap_or_default().trim().to_owned()
}

/// Looks for a program in PATH and where packages of servers put theirs.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Builds `lb` as it is released and says where it is.
///
/// # Errors
/// The build fails.
pub(crate) fn build() -> Result<PathBuf, Failure> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--release", "--locked", "--bin", "lb"])
        .current_dir(root())
        .status()
        .during("building lb")?;
    if !built.success() {
        return Err(Failure("lb does not build".to_owned()));
    }
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.join("release/lb"))
}

/// The programs' versions, one a line; the build of lb is told by commit, size and time.
pub(crate) fn versions(lb: &Path, peers: &[PathBuf]) -> Vec<String> {
    let git = Path::new("git");
    let commit = line(git, &["log", "-1", "--format=%h of %cs"]);
    let changed = line(
        git,
        &[
            "status",
            "--porcelain",
            "--untracked-files=no",
            "src",
            "Cargo.toml",
            "Cargo.lock",
        ],
    );
    let changed = if changed.is_empty() {
        ""
    } else {
        ", with changes"
    };
    let mut versions = vec![format!(
        "{}, commit {commit}{changed}",
        line(lb, &["--version"])
    )];
    for peer in peers {
        versions.push(line(peer, &["-v"]).replace("nginx version: ", ""));
    }
    versions.push(line(Path::new("rustc"), &["-V"]));
    versions
}

/// Tells one build of `lb` from another.
pub(crate) fn identity(lb: &Path) -> Result<String, Failure> {
    let about = fs::metadata(lb).during(lb.display())?;
    let modified = about.modified().during(lb.display())?;
    let age = modified
        .duration_since(std::time::UNIX_EPOCH)
        .during(lb.display())?;
    Ok(format!(
        "lb of {} bytes from {}",
        about.len(),
        age.as_secs()
    ))
}

/// The machine in one line.
pub(crate) fn facts(cores: usize) -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |name: &str| {
        info.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
    };
    let model = value("model name").unwrap_or_else(|| "unknown CPU".to_owned());
    let kind = match value("flags").is_some_and(|flags| flags.contains("hypervisor")) {
        true => "virtual machine",
        false => "no virtual machine",
    };
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory
        .split_whitespace()
        .nth(1)
        .and_then(|kilobytes| kilobytes.parse::<u64>().ok())
        .unwrap_or(0);
    let uname = rustix::system::uname();
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = system
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .unwrap_or("Linux")
        .trim_matches('"')
        .to_owned();
    format!(
        "{model}, {cores} cores, {} GiB, {kind}, {system}, Linux {}",
        (memory + (1 << 19)) >> 20,
        uname.release().to_string_lossy()
    )
}

/// Waits while the machine's connection-tracking table is more than half full; new connections of everyone would be dropped.
pub(crate) fn wait_for_room() {
    let read = |name: &str| {
        let path = format!("/proc/sys/net/netfilter/nf_conntrack_{name}");
        fs::read_to_string(path).ok()?.trim().parse::<u64>().ok()
    };
    for _ in 0..150 {
        match (read("count"), read("max")) {
            (Some(count), Some(most)) if count * 2 > most => {}
            _ => return,
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

/// The date, as the system's clock has it.
pub(crate) fn today() -> String {
    line(Path::new("date"), &["-u", "+%Y-%m-%d"])
}
