// SPDX-License-Identifier: MPL-2.0
//! Connections: so many at a time, each of which says soon what it wants, so that strangers cannot take all of the program's files.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Half of the files that a program may usually have open.
const MAX_CONNECTIONS: usize = 512;
/// What a request's headers may take, and how long a connection waits for another request.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long nobody is let in after that was not possible: others must go first.
const PAUSE: Duration = Duration::from_millis(200);

/// Answers whoever comes; never ends.
pub async fn serve(listener: TcpListener, routes: Router) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // Answers and events are small and should be sent at once.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(routes.clone());
        tokio::spawn(async move {
            // What goes wrong is the other side's: it has left, or speaks no HTTP.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
            drop(place);
        });
    }
}
