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
    "hashbrown",
    "7process",
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
    "serf7answers",
    "serf6events",
    "serf4keys",
    "driver3ask",
];

/// What is run all the time and has such a part in its name.
const OFTEN: &[&str] = &["raw_vec", "drop_in_place", "insert_tail", "starts_with"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let (Ok(out), Ok(system)) = (env::var("OUT_DIR"), env::var("CARGO_CFG_TARGET_OS")) else {
        return;
    };
    // target/PROFILE/build/lb-HASH/out: cargo does not tell the name of a profile that is not its own.
    let out = Path::new(&out);
    let profile = out.ancestors().nth(3).and_then(Path::file_name);
    if system != "linux" || profile.is_none_or(|profile| profile != "agent") {
        return;
    }
    let path = out.join("agent.ld");
    if fs::write(&path, script()).is_ok() {
        // The table that finds the tables which are left out.
        println!("cargo::rustc-link-arg-bin=lb-agent=-Wl,--no-eh-frame-hdr");
        println!(
            "cargo::rustc-link-arg-bin=lb-agent=-Wl,-T,{}",
            path.display()
        );
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
