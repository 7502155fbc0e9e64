// SPDX-License-Identifier: MPL-2.0
//! Puts the part of the training kit that trains on films into the tool: `train_film.py`, what it imports from the folder
//! `training`, and the data files beside it that these name.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const PROGRAM: &str = "train_film.py";
/// From this crate.
const KIT: &str = "/../../training";

fn main() {
    let mut kit = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    kit.push(KIT);
    let kit = PathBuf::from(kit);
    let mut files = BTreeSet::new();
    let mut next = vec![PROGRAM.to_string()];
    while let Some(name) = next.pop() {
        let path = kit.join(&name);
        println!("cargo:rerun-if-changed={}", path.display());
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        if files.insert(name) {
            next.extend(modules(&text).into_iter().filter(|name| kit.join(name).is_file()));
            files.extend(data(&text, &kit));
        }
    }
    let mut list = String::from("const FILES: &[(&str, &[u8])] = &[\n");
    for name in files {
        println!("cargo:rerun-if-changed={}", kit.join(&name).display());
        // The list names no folder of this machine: the program is the same wherever it is built.
        let path = format!("concat!(env!(\"CARGO_MANIFEST_DIR\"), {:?})", format!("{KIT}/{name}"));
        // Writing to a string cannot fail.
        let _ = writeln!(list, "    ({name:?}, include_bytes!({path})),");
    }
    list.push_str("];\n");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    if let Err(error) = std::fs::write(out.join("kit.rs"), list) {
        println!("cargo::error=the list of the training kit's files cannot be written: {error}");
    }
}

/// The files of the modules that a Python file imports, in whichever line.
fn modules(text: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for line in text.lines().map(str::trim_start) {
        if let Some(names) = line.strip_prefix("import ") {
            modules.extend(names.split(',').map(|name| name.trim().split([' ', '.']).next().unwrap_or("")));
        } else if let Some((name, _)) = line.strip_prefix("from ").and_then(|rest| rest.split_once(' ')) {
            modules.push(name);
        }
    }
    modules.into_iter().map(|name| format!("{name}.py")).collect()
}

/// Data files beside a Python file that it names in quotes.
fn data(text: &str, kit: &Path) -> Vec<String> {
    let quoted = text.split(['"', '\'']).filter(|word| word.ends_with(".npz"));
    quoted.filter(|name| !name.contains(['/', '{']) && kit.join(name).is_file()).map(String::from).collect()
}
