//! Leaves what nobody reads out of the agent: tables by which a panic unwinds, in a program that ends at a panic.
//!
//! The profile `agent` sets `panic = "abort"`, but the compiler writes these tables all the same, 270 kB of them, and
//! the kernel maps a part beside the constants that are in use.

use std::path::Path;
use std::{env, fs};

/// For `ld` and `lld` alike: an addition to the linker's own script.
const SCRIPT: &str = "SECTIONS { /DISCARD/ : { *(.eh_frame) *(.gcc_except_table .gcc_except_table.*) } } INSERT AFTER .text;\n";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let (Ok(out), Ok(system)) = (env::var("OUT_DIR"), env::var("CARGO_CFG_TARGET_OS")) else {
        return;
    };
    // target/PROFILE/build/lb-HASH/out: cargo tells nothing else of a profile that is not its own.
    let out = Path::new(&out);
    let profile = out.ancestors().nth(3).and_then(Path::file_name);
    if system != "linux" || profile.is_none_or(|profile| profile != "agent") {
        return;
    }
    let script = out.join("discard.ld");
    if fs::write(&script, SCRIPT).is_ok() {
        println!("cargo::rustc-link-arg-bin=lb-agent=-Wl,--no-eh-frame-hdr");
        println!(
            "cargo::rustc-link-arg-bin=lb-agent=-Wl,-T,{}",
            script.display()
        );
    }
}
