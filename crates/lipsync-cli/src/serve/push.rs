// SPDX-License-Identifier: MPL-2.0
//! WHIP (RFC 9725): a session is sent to a media server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::Uri;
use ureq::tls::{RootCerts, TlsConfig};

use super::failure::{Failure, Outcome};
use super::peer::{Connection, IceServers, MAX_SDP, Peer, SILENCE};
use super::presenter::Streams;

/// What a server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// What it may take to note that a session has ended: the program may be waiting to end, too.
const FAREWELL: Duration = Duration::from_secs(3);

/// A session on its way to a server. It is ended when it is dropped.
pub struct Push {
    url: String,
    token: Option<String>,
    /// Where the server is told that it has ended.
    resource: Option<String>,
    agent: ureq::Agent,
    lost: Arc<AtomicBool>,
    peer: Peer,
}

impl Push {
    /// Offers it to a server.
    ///
    /// # Errors
    /// Where the server cannot be reached, or does not take it.
    pub fn begin(streams: &Streams, ice: &IceServers, url: &str, token: Option<&str>) -> Outcome<Self> {
        let uri = url.parse::<Uri>().ok().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
        let uri = uri.ok_or_else(|| {
            Failure::bad(format!("{url:?} is no address of a server. Send one with http or https"))
        })?;
        if token.is_some_and(|token| token.bytes().any(|byte| !(0x21..0x7f).contains(&byte))) {
            return Err(Failure::bad("the token has characters that no header can have"));
        }
        let agent = agent();
        let lost = Arc::<AtomicBool>::default();
        let noted = lost.clone();
        let (peer, offer) = Peer::offer(streams, ice, move |connection| {
            noted.store(connection == Connection::Lost, Ordering::SeqCst);
        })?;
        let mut request = agent.post(url).header("Content-Type", "application/sdp");
        if let Some(token) = token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut response = request
            .send(offer)
            .map_err(|error| unreachable(format!("{url}: {error}. Is the server there?")))?;
        let status = response.status();
        if status != 201 {
            return Err(unreachable(format!(
                "{url}: the server answers {status}. Look at its address and the token"
            )));
        }
        let location = response.headers().get("location").and_then(|value| value.to_str().ok());
        let resource = location.and_then(|location| resolve(&uri, location));
        let answer = response.body_mut().with_config().limit(MAX_SDP as u64).read_to_string();
        let push = Self { url: url.into(), token: token.map(String::from), resource, agent, lost, peer };
        let answer = answer.map_err(|error| unreachable(format!("{url}: {error}")))?;
        push.peer.accept(&answer)?;
        Ok(push)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether the connection has ended by itself.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst) || self.peer.silence() > SILENCE
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        if let Some(resource) = &self.resource {
            let mut request = self.agent.delete(resource);
            if let Some(token) = &self.token {
                request = request.header("Authorization", format!("Bearer {token}"));
            }
            // A server that is gone needs not be told.
            let _ = request.config().timeout_global(Some(FAREWELL)).build().call();
        }
    }
}

fn agent() -> ureq::Agent {
    // Another part of the program may have chosen one; then that is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tls = TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build();
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .tls_config(tls)
        .build();
    config.into()
}

/// The server's `Location`: a whole address, or a path on the same server. Another server does not get the token.
fn resolve(server: &Uri, location: &str) -> Option<String> {
    let (scheme, authority) = (server.scheme_str()?, server.authority()?);
    let found = match location.parse::<Uri>().ok()? {
        absolute if absolute.scheme().is_some() => absolute,
        path if location.starts_with('/') => format!("{scheme}://{authority}{path}").parse().ok()?,
        path => {
            let folder = server.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{authority}{folder}/{path}").parse().ok()?
        }
    };
    (found.authority() == Some(authority) && found.scheme_str() == Some(scheme)).then(|| found.to_string())
}

/// 502: the other server's fault.
fn unreachable(sentence: String) -> Failure {
    Failure::new(axum::http::StatusCode::BAD_GATEWAY, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved_on_the_same_server() {
        let server = "https://example.org/whip/live".parse().unwrap();
        let resolve = |location| resolve(&server, location);
        assert_eq!(resolve("/r/1").as_deref(), Some("https://example.org/r/1"));
        assert_eq!(resolve("1").as_deref(), Some("https://example.org/whip/1"));
        assert_eq!(resolve("https://example.org/r/1").as_deref(), Some("https://example.org/r/1"));
        assert_eq!(resolve("https://evil.example/r/1"), None);
        assert_eq!(resolve("http://example.org/r/1"), None);
    }
}
