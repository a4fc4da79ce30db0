//! How the agent lies in memory: what every agent runs apart from what hardly any does.
//!
//! ```text
//! profile agent ─▶ agent.ld ─▶ .text (all else) · .text.often · .text.seldom        no tables for unwinding
//! ```
//!
//! The kernel maps code in pieces of 64 kB, so a function that is never called costs memory where it lies among others.
//! Half of the agent's code is such: a symboliser for the last words of a panic, the client of the RPC, the text of
//! `--help`, parsers of files that are not there. The names below say where it is to lie and nothing else: one that
//! is missing or too much costs a few kilobytes.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// Parts of symbols, mangled in either way. Libraries that only some agents need, at some time:
const LIBRARIES: &[&str] = &[
    // of std, behind a panic
    "gimli",
    "addr2line",
    "miniz_oxide",
    "rustc_demangle",
    "backtrace_rs",
    // keys, mDNS, files
    "3aes",
    "ghash",
    "polyval",
    "cipher",
    "base64",
    "simple_dns",
    "toml",
    "winnow",
    "serde_json",
    // queries by tag, checks
    "regex",
    "5hyper",
    "4http",
    "httparse",
    "humantime",
    // help and complaints, numbers with a point, tables that are sorted
    "clap_builder6output",
    "clap_builder..output",
    "clap_builder5error",
    "clap_builder..error",
    "strsim",
    "dec2flt",
    "flt2dec",
    "fmt5float",
    "slice4sort",
    "7process7Command",
    "cgroups",
    "to_lowercase",
];

/// The same of our own modules: verbs, the RPC with a client, checks, scripts, mDNS, keys, queries and events.
const MODULES: &[&str] = &[
    "cli4serf",
    "cli..serf",
    "2lb3rpc",
    "lb..rpc",
    "health5check",
    "health..check",
    "2lb6script",
    "lb..script",
    "driver4mdns",
    "driver..mdns",
    "core7keyring",
    "core..keyring",
    "agent9announcer",
    "agent..announcer",
    "serf7queries",
    "serf6asking",
    "serf6events",
    "serf4keys",
    "driver3ask",
];

/// What is run all the time and has such a part in its name.
const OFTEN: &[&str] = &[
    "raw_vec",
    "VechE7reserve",
    "drop_in_place",
    "insert_tail",
    "starts_with",
    "3fmtRe",
    "3fmtRh",
    "3fmtSh",
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| env::var(name).unwrap_or_default();
    // target/PROFILE/build/lb-HASH/out: cargo does not tell the name of a profile that is not its own.
    let out = variable("OUT_DIR");
    let profile = Path::new(&out).ancestors().nth(3);
    let is_agent = profile.is_some_and(|profile| profile.ends_with("agent"));
    if !is_agent || variable("CARGO_CFG_TARGET_OS") != "linux" {
        return;
    }
    let path = Path::new(&out).join("agent.ld");
    if fs::write(&path, script()).is_ok() {
        // The table that finds the tables which are left out.
        println!("cargo::rustc-link-arg-bin=lb-agent=-Wl,--no-eh-frame-hdr");
        println!(
            "cargo::rustc-link-arg-bin=lb-agent=-Wl,-T,{}",
            path.display()
        );
    }
    // What follows asks this machine, which must be like the one that the agent is for.
    if variable("TARGET") == variable("HOST") && variable("CARGO_CFG_TARGET_ENV") == "gnu" {
        link_smaller();
    }
}

/// Leaves out a library, and 90 kB of places in memory that the loader is to correct.
///
/// The agent runs then where glibc is 2.36 or newer; it is done where that is so anyway.
fn link_smaller() {
    let said = |program: &str, argument: &str| {
        let output = Command::new(program).arg(argument).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        text.lines().next().map(str::to_owned)
    };
    // "ldd (Debian GLIBC 2.36-9+deb12u9) 2.36"
    let glibc = said("ldd", "--version").and_then(|line| {
        let (major, minor) = line.rsplit(' ').next()?.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    });
    if glibc.is_some_and(|version| version >= (2, 36)) {
        println!("cargo::rustc-link-arg-bin=lb-agent=-Wl,-z,pack-relative-relocs");
    }
    // The few functions of libgcc_s that are used, out of the archive: a shared library costs 80 kB.
    let archive = said("cc", "-print-file-name=libgcc_eh.a").unwrap_or_default();
    if let Some(directory) = Path::new(&archive)
        .parent()
        .filter(|_| Path::new(&archive).is_absolute())
    {
        println!("cargo::rustc-link-search=native={}", directory.display());
        println!("cargo::rustc-link-lib=static=gcc_eh");
    }
}

/// An addition to the linker's own script, for `ld` and `lld` alike.
///
/// The profile sets `panic = "abort"`, but the compiler writes tables for unwinding all the same, 300 kB of them.
fn script() -> String {
    let mut script = String::from("SECTIONS {\n");
    let seldom = [LIBRARIES, MODULES].concat();
    for (section, parts) in [("often", OFTEN), ("seldom", &seldom)] {
        let _ = writeln!(script, ".text.{section} : {{");
        for part in parts {
            let _ = writeln!(script, "*(.text.*{part}*)");
        }
        script.push_str("}\n");
    }
    script.push_str("/DISCARD/ : { *(.eh_frame) *(.gcc_except_table .gcc_except_table.*) }\n} INSERT AFTER .text;\n");
    script
}
