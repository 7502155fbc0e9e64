// SPDX-License-Identifier: MPL-2.0
//! `list`: the avatars that can be used by name.

use std::process::ExitCode;

use anyhow::Result;
use lipsync_core::avatar::{Avatar, Listed, search_path};
use lipsync_core::text::plain;

use crate::{check, format, interrupt, plugin};

/// Prints every avatar of the search path.
pub fn run() -> Result<ExitCode> {
    let library_dir = plugin::library_dir();
    let listed = Avatar::list(library_dir.as_deref());
    for Listed { name, folder, hidden_by, avatar } in &listed {
        interrupt::check()?;
        let (name, folder_name) = (plain(name).to_string(), plain(folder.display()));
        match avatar {
            Ok(avatar) => {
                print_line!("{name:<15} {}", plain(&avatar.title));
                print_line!(
                    "                {}, {}, {}",
                    check::layout(avatar.layout),
                    check::frames(avatar),
                    format::bytes(format::size_of(folder))
                );
            }
            Err(error) => print_line!("{name:<15} cannot be used: {error}"),
        }
        print_line!("                {folder_name}");
        if let Some(earlier) = hidden_by {
            print_line!("                hidden: the name {name} means {}", plain(earlier.display()));
        }
    }
    if listed.is_empty() {
        print_line!("no avatars in");
        for place in search_path(library_dir.as_deref()) {
            print_line!("  {}", place.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}
