// SPDX-License-Identifier: MPL-2.0
//! `serve`: avatars in a browser, by WebRTC.
//!
//! A [`session::Session`] owns one pipeline with an avatar, which is encoded once ([`presenter`]). Each viewer has a pipeline of its
//! own that is fed by it ([`peer`]), and so has a recording. All networks of an avatar are shared by its sessions, which is what
//! the element does by itself.

mod access;
mod avatars;
mod connections;
mod events;
mod failure;
mod http;
mod memory;
mod options;
mod peer;
mod pipeline;
mod presenter;
mod push;
mod recording;
mod session;
mod sessions;
mod sound;
mod utterances;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{interrupt, plugin};
use access::{Access, random_token};
use avatars::Avatars;
pub use options::Serve;
use peer::IceServers;
use sessions::Sessions;

/// How often it is looked whether Ctrl-C was pressed.
const LOOK: Duration = Duration::from_millis(100);
/// How often sessions are looked after.
const TIDY: Duration = Duration::from_secs(1);
/// What is still running when everything has ended is given so long.
const LAST: Duration = Duration::from_secs(2);

/// The elements it needs that are not in every installation, and Debian's packages that have them.
pub const NEEDS: &[(&str, &str)] = &[
    ("webrtcbin", "gstreamer1.0-plugins-bad"),
    ("nicesrc", "gstreamer1.0-nice"),
    ("dtlssrtpenc", "gstreamer1.0-plugins-bad"),
    ("srtpenc", "gstreamer1.0-plugins-bad"),
    ("rtph264pay", "gstreamer1.0-plugins-good"),
    ("x264enc", "gstreamer1.0-plugins-ugly"),
    ("h264parse", "gstreamer1.0-plugins-bad"),
    ("opusenc", "gstreamer1.0-plugins-base"),
];

/// Serves until Ctrl-C.
pub fn run(options: &Serve) -> Result<ExitCode> {
    memory::keep_together();
    plugin::load()?;
    for (element, package) in NEEDS {
        plugin::require(element, package)?;
    }
    let avatars = Avatars::new(&options.avatar)?;
    let loopback = options.bind.ip().is_loopback();
    let is_private = loopback && options.allow_origin.iter().all(|origin| access::is_local_origin(origin));
    let token = match (&options.token, is_private) {
        (Some(token), _) => Some(token.clone()),
        (None, true) => None,
        (None, false) => Some(random_token().context("the system has no random numbers for a token")?),
    };
    let server = Arc::new(http::Server {
        sessions: Sessions::new(options.clone(), avatars),
        access: Access::new(token, options.allow_origin.clone(), loopback),
        ice: IceServers::of(options),
        options: options.clone(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_keep_alive(Duration::from_secs(5))
        .enable_all()
        .build()
        .context("the server cannot be started")?;
    let served = runtime.block_on(serve(&server));
    server.sessions.close_all();
    runtime.shutdown_timeout(LAST);
    served.map(|()| ExitCode::SUCCESS)
}

async fn serve(server: &Arc<http::Server>) -> Result<()> {
    let bind = server.options.bind;
    let listener = tokio::net::TcpListener::bind(bind).await.with_context(|| {
        format!(
            "{bind} cannot be listened at. Is lipsync serve running already? Choose another port with --bind"
        )
    })?;
    let address = listener.local_addr()?;
    let query = server.access.token().map_or_else(String::new, |token| format!("?token={token}"));
    // An address that stands for all of them is none to go to.
    let host = if address.ip().is_unspecified() { host_name() } else { address.ip().to_string() };
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    print_line!("Open http://{host}:{}/{query}", address.port());
    let routes = http::routes(server.clone());
    tokio::select! {
        () = connections::serve(listener, routes) => {}
        () = tidy(server) => {}
        () = interrupted() => {}
    }
    Ok(())
}

/// Looks after the sessions; never ends. It may wait for other servers.
async fn tidy(server: &Arc<http::Server>) {
    loop {
        tokio::time::sleep(TIDY).await;
        let server = server.clone();
        let ended = tokio::task::spawn_blocking(move || server.sessions.tidy()).await;
        for (id, why) in ended.unwrap_or_default() {
            print_error!("lipsync: session {id} has ended: {why}");
        }
    }
}

/// Waits for Ctrl-C.
async fn interrupted() {
    while !interrupt::requested() {
        tokio::time::sleep(LOOK).await;
    }
}

/// The name of this machine, for the address that is printed.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".into() } else { name.trim().into() }
}
