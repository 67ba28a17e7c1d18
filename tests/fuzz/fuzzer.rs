//! libFuzzer around one target: `PISUP_FUZZ=TARGET fuzzer [OPTION OF LIBFUZZER...] FOLDER...`.
//!
//! `PISUP_FUZZ=list` prints the targets. With `PISUP_FUZZ_UNPACK=FOLDER` a target's corpus is
//! written there, a file an input; with `PISUP_FUZZ_PACK=FOLDER` what is there becomes the corpus.
#![no_main]

#[path = "corpus.rs"]
mod corpus;
#[path = "targets.rs"]
mod targets;

use std::path::Path;
use std::sync::OnceLock;
use std::{env, fs, io, process};

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: if let Err(why) = begin() {
        eprintln!("fuzzer: {why}");
        process::exit(2);
    },
    |bytes: &[u8]| {
        if let Some(target) = TARGET.get() {
            target(bytes);
        }
    }
);

fn begin() -> io::Result<()> {
    let wanted = env::var("PISUP_FUZZ").unwrap_or_default();
    if wanted == "list" {
        for (name, _) in targets::TARGETS {
            println!("{name}");
        }
        process::exit(0);
    }
    let Some((name, target)) = targets::TARGETS.iter().find(|(name, _)| *name == wanted) else {
        return Err(io::Error::other(format!("PISUP_FUZZ: no target {wanted:?}")));
    };
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    if let Some(folder) = env::var_os("PISUP_FUZZ_UNPACK") {
        fs::create_dir_all(&folder)?;
        for (index, input) in corpus::read(home, name)?.iter().enumerate() {
            fs::write(Path::new(&folder).join(format!("seed-{index}")), input)?;
        }
        process::exit(0);
    }
    if let Some(folder) = env::var_os("PISUP_FUZZ_PACK") {
        let files = fs::read_dir(folder)?.map(|entry| fs::read(entry?.path()));
        corpus::write(home, name, &files.collect::<io::Result<Vec<_>>>()?)?;
        process::exit(0);
    }
    let _ = TARGET.set(*target);
    Ok(())
}
