// SPDX-License-Identifier: MPL-2.0
//! The avatars that can be called by name.

use std::path::{Path, PathBuf};

use super::{Avatar, search_path};
use crate::error::Result;

/// A folder in the search path.
#[derive(Debug)]
pub struct Listed {
    /// The name to call it by.
    pub name: String,
    /// Where it is.
    pub folder: PathBuf,
    /// The folder that is found instead, where an earlier one has the same name.
    pub hidden_by: Option<PathBuf>,
    /// The avatar, or why it is none.
    pub avatar: Result<Avatar>,
}

impl Avatar {
    /// Every avatar of the search path, in the order in which names are looked for; hidden folders are left out.
    pub fn list(library_dir: Option<&Path>) -> Vec<Listed> {
        let mut listed: Vec<Listed> = Vec::new();
        let mut seen = Vec::new();
        for place in search_path(library_dir) {
            // The same place may be named twice, also by another path.
            let Ok(real) = place.canonicalize() else { continue };
            if seen.contains(&real) {
                continue;
            }
            seen.push(real);
            for name in names(&place) {
                let folder = place.join(&name);
                let earlier = listed.iter().find(|listed| listed.name == name);
                listed.push(Listed {
                    hidden_by: earlier.map(|earlier| earlier.folder.clone()),
                    avatar: Self::open(&folder),
                    name,
                    folder,
                });
            }
        }
        listed
    }
}

/// Names of the folders in a folder, sorted.
fn names(place: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(place).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<String> = folders.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| !name.starts_with('.'));
    names.sort();
    names
}
