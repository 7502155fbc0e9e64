//! `list`: the avatars that can be called by name.

use std::process::ExitCode;

use anyhow::Result;
use lipsync_core::avatar::{Avatar, Listed, search_path};
use lipsync_core::text::plain;

use crate::{check, interrupt, plugin, words};

/// Prints every avatar of the search path.
pub fn run() -> Result<ExitCode> {
    let beside = plugin::folder();
    let listed = Avatar::list(beside.as_deref());
    for Listed { name, folder, hidden_by, avatar } in &listed {
        interrupt::check()?;
        let (name, folder_name) = (plain(name).to_string(), plain(folder.display()));
        match avatar {
            Ok(avatar) => {
                say!("{name:<15} {}", plain(&avatar.title));
                say!(
                    "                {}, {}, {}",
                    check::layout(avatar.layout),
                    check::frames(avatar),
                    words::bytes(words::size_of(folder))
                );
            }
            Err(error) => say!("{name:<15} cannot be used: {error}"),
        }
        say!("                {folder_name}");
        if let Some(earlier) = hidden_by {
            say!("                hidden: the name {name} means {}", plain(earlier.display()));
        }
    }
    if listed.is_empty() {
        say!("no avatars in");
        for place in search_path(beside.as_deref()) {
            say!("  {}", place.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}
