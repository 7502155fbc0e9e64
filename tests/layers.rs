// SPDX-License-Identifier: MPL-2.0
//! The layers hold: imports only go down, and no two files import each other.
//!
//! What a file imports is read from its `use` lines and from paths that begin with `crate` or `super`; its unit tests
//! are left out. The floors are those of docs/architecture.md.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::Visit;

/// The modules of the core, floor by floor, the ground first, as the architecture's table has them: `| 3 | `audio`, ... |`.
fn floors() -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ");
        let floor = cells.next()?.parse::<usize>().ok()?;
        Some((floor, cells.next()?.split(", ").map(|name| name.trim_matches('`').to_string()).collect()))
    });
    let mut rows: Vec<(usize, Vec<String>)> = rows.collect();
    rows.sort();
    assert!(rows.iter().map(|(floor, _)| *floor).eq(1..=rows.len()) && rows.len() > 5, "{rows:?}");
    rows.into_iter().map(|(_, modules)| modules).collect()
}

/// What each file of a crate imports from others of it. A file is called by its module: `picture::resize`.
type Imports = BTreeMap<String, BTreeSet<String>>;

fn imports(source: &str) -> Imports {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let mut files = BTreeMap::new();
    read(&root, &root, &mut files);
    assert!(files.len() > 10, "{source}: there are hardly any files");
    let modules: BTreeSet<String> = files.keys().cloned().collect();
    files
        .into_iter()
        .map(|(module, (is_folder, file))| {
            let mut paths = Paths::default();
            paths.visit_file(&file);
            let parent = |n: usize| {
                let mut parts: Vec<&str> = module.split("::").collect();
                parts.truncate(parts.len().saturating_sub(n));
                parts.into_iter().map(String::from).collect::<Vec<_>>()
            };
            let found = paths.found.iter().filter_map(|path| {
                let base = match path[0].as_str() {
                    "crate" => Vec::new(),
                    "self" if is_folder => parent(0),
                    _ => parent(1),
                };
                let whole: Vec<String> = base.into_iter().chain(path[1..].iter().cloned()).collect();
                (1..=whole.len()).rev().map(|n| whole[..n].join("::")).find(|name| modules.contains(name))
            });
            let found: BTreeSet<String> = found.filter(|other| *other != module).collect();
            (module, found)
        })
        .collect()
}

fn read(root: &Path, folder: &Path, files: &mut BTreeMap<String, (bool, syn::File)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(root, &path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let file = syn::parse_file(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let name = path.strip_prefix(root).unwrap().with_extension("");
            let is_folder = name.ends_with("mod");
            let name = if is_folder { name.parent().unwrap() } else { &name };
            let module = name.iter().map(|part| part.to_str().unwrap()).collect::<Vec<_>>().join("::");
            files.insert(module, (is_folder, file));
        }
    }
}

/// Paths from the root of the crate, or from beside the file.
#[derive(Default)]
struct Paths {
    found: Vec<Vec<String>>,
}

impl Paths {
    fn add(&mut self, path: Vec<String>) {
        if matches!(path[0].as_str(), "crate" | "super" | "self") && path.len() > 1 {
            self.found.push(path);
        }
    }

    fn add_tree(&mut self, tree: &syn::UseTree, mut path: Vec<String>) {
        match tree {
            syn::UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.add_tree(&part.tree, path);
            }
            syn::UseTree::Name(name) => {
                path.push(name.ident.to_string());
                self.add(path);
            }
            syn::UseTree::Rename(name) => {
                path.push(name.ident.to_string());
                self.add(path);
            }
            syn::UseTree::Glob(_) => self.add(path),
            syn::UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.add_tree(tree, path.clone()));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let is_test = |attribute: &syn::Attribute| {
            attribute.path().is_ident("cfg")
                && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string().contains("test"))
        };
        if !item.attrs.iter().any(is_test) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_tree(&item.tree, Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.add(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        syn::visit::visit_path(self, path);
    }
}

/// The files that can be reached from a file through what they import.
fn reached<'a>(imports: &'a Imports, from: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        for other in imports.get(module).into_iter().flatten() {
            if reached.insert(other.as_str()) {
                next.push(other);
            }
        }
    }
    reached
}

#[test]
fn the_core_imports_downwards() {
    let imports = imports("crates/lipsync-core/src");
    let room = |module: &str| module.split("::").next().unwrap().to_string();
    let floors = floors();
    let floor = |room: &str| floors.iter().position(|rooms| rooms.iter().any(|other| other == room));
    let mut wrong = Vec::new();
    for (module, others) in imports.iter().filter(|(module, _)| *module != "lib") {
        let here = room(module);
        let Some(above) = floor(&here) else {
            wrong.push(format!("{here} is on no floor"));
            continue;
        };
        for there in others.iter().map(|other| room(other)).filter(|there| *there != here) {
            if floor(&there).is_none_or(|below| below >= above) {
                wrong.push(format!("{module} imports from {there}, which is not below it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A folder's `mod.rs` is its face, and names what is in it: what its files take from it is no circle.
#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut circles = Vec::new();
    for source in ["src", "crates/lipsync-core/src", "crates/lipsync-cli/src"] {
        let mut imports = imports(source);
        for (module, others) in &mut imports {
            others.retain(|other| {
                let is_within =
                    |a: &str, b: &str| a.strip_prefix(b).is_some_and(|rest| rest.starts_with("::"));
                !is_within(other, module) && !is_within(module, other)
            });
        }
        let in_circle = imports.keys().filter(|module| reached(&imports, module).contains(module.as_str()));
        circles.extend(in_circle.map(|module| format!("{source}: {module}")));
    }
    assert!(circles.is_empty(), "these import each other in circles: {circles:#?}");
}

#[test]
fn the_elements_are_above_the_core() {
    let manifest =
        |path: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let core = manifest("crates/lipsync-core/Cargo.toml");
    for crate_of_elements in ["gst", "glib", "gio"] {
        assert!(
            !core.lines().any(|line| line.starts_with(crate_of_elements)),
            "the core depends on {crate_of_elements}"
        );
    }
}
