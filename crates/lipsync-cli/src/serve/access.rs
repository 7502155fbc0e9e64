// SPDX-License-Identifier: MPL-2.0
//! Who is let in.
//!
//! On the loopback address any program of this machine is, but no page of another site: a browser sends such a page's
//! requests with its `Origin`, or, where the page has its own name resolved to 127.0.0.1 (DNS rebinding), with its
//! `Host`. The token is needed at any other address, and where origins of elsewhere are allowed: a proxy may stand in front,
//! which lets in everybody.

use std::net::IpAddr;

use axum::http::{HeaderMap, StatusCode, Uri, header};
use subtle::ConstantTimeEq;

use super::failure::{Failure, Outcome};

/// Bytes of a token made at random.
const TOKEN_BYTES: usize = 24;

/// The rules.
pub struct Access {
    token: Option<String>,
    /// Lower-case origins that may use it beside its own.
    origins: Vec<String>,
    loopback: bool,
}

impl Access {
    pub fn new(token: Option<String>, origins: Vec<String>, loopback: bool) -> Self {
        Self { token, origins, loopback }
    }

    /// What has to be known to be let in, if anything.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Whether a page of this origin may use it although it is another site.
    pub fn allows_origin(&self, origin: &str) -> bool {
        self.origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }

    /// Checks where a request comes from.
    ///
    /// # Errors
    /// Where it is of another site, or was sent to a name that is not this machine's.
    pub fn check_origin(&self, headers: &HeaderMap) -> Outcome<()> {
        let host = text(headers, header::HOST).unwrap_or_default();
        let is_local = is_local(host);
        let is_proxied = self.origins.iter().any(|origin| authority(origin).eq_ignore_ascii_case(host));
        if self.loopback && !is_local && !is_proxied {
            return Err(Failure::new(
                StatusCode::FORBIDDEN,
                format!(
                    "the host {host:?} is not this machine. Use http://127.0.0.1, or start with --allow-origin"
                ),
            ));
        }
        match text(headers, header::ORIGIN) {
            None => Ok(()),
            Some(origin) if authority(origin).eq_ignore_ascii_case(host) || self.allows_origin(origin) => {
                Ok(())
            }
            Some(origin) => Err(Failure::new(
                StatusCode::FORBIDDEN,
                format!("pages of {origin:?} may not use this. Start with --allow-origin {origin}"),
            )),
        }
    }

    /// Checks the token: `Authorization: Bearer TOKEN`, or `?token=` where no header can be set.
    ///
    /// # Errors
    /// Where it is missing or wrong.
    pub fn check_token(&self, headers: &HeaderMap, uri: &Uri) -> Outcome<()> {
        let Some(token) = &self.token else { return Ok(()) };
        let bearer = text(headers, header::AUTHORIZATION).and_then(bearer);
        let given = bearer.or_else(|| query_value(uri.query().unwrap_or_default(), "token"));
        if given.is_some_and(|given| bool::from(given.as_bytes().ct_eq(token.as_bytes()))) {
            return Ok(());
        }
        Err(Failure::new(
            StatusCode::UNAUTHORIZED,
            "the token is missing or wrong. Send Authorization: Bearer TOKEN, or ?token=TOKEN; lipsync serve prints it",
        ))
    }
}

/// A token that cannot be guessed.
///
/// # Errors
/// Where the system has no random numbers.
pub fn random_token() -> Result<String, getrandom::Error> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The value of a key in a query; tokens need no escapes.
fn query_value<'a>(query: &'a str, key: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

/// Host and port of an origin.
fn authority(origin: &str) -> &str {
    origin.split_once("://").map_or(origin, |(_, authority)| authority)
}

/// Whether a host, perhaps with a port, is this machine by any name: an address that a site can choose is not.
fn is_local(host: &str) -> bool {
    let name = host_name(host);
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether an origin is this machine.
pub fn is_local_origin(origin: &str) -> bool {
    is_local(authority(origin))
}

/// A host without its port.
fn host_name(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.find(']')) {
        Some(end) => &host[..end + 2],
        None => host.split(':').next().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn other_sites_are_kept_out() {
        let access = Access::new(None, vec!["https://example.org".into()], true);
        let check = |host: &str, origin: Option<&str>| {
            let mut all = vec![(header::HOST, host)];
            all.extend(origin.map(|origin| (header::ORIGIN, origin)));
            access.check_origin(&headers(&all)).is_ok()
        };
        assert!(check("127.0.0.1:8080", None));
        assert!(check("localhost:8080", Some("http://localhost:8080")));
        assert!(check("[::1]:8080", Some("http://[::1]:8080")));
        assert!(check("127.0.0.2:8080", Some("http://127.0.0.2:8080")));
        assert!(!check("127.0.0.1.evil.example:8080", None));
        assert!(!check("192.0.2.1:8080", None));
        assert!(check("127.0.0.1:8080", Some("https://example.org")));
        assert!(check("example.org", Some("https://example.org")));
        assert!(!check("127.0.0.1:8080", Some("http://evil.example")));
        assert!(!check("127.0.0.1:8080", Some("http://127.0.0.1:9090")));
        assert!(!check("127.0.0.1:8080", Some("null")));
        assert!(!check("evil.example:8080", Some("http://evil.example:8080")));
        assert!(!check("", None));
    }

    #[test]
    fn the_token_is_asked_for() {
        let access = Access::new(Some("0123456789abcdef".into()), Vec::new(), false);
        let check = |authorization: Option<&str>, uri: &str| {
            let all: Vec<_> = authorization.map(|value| (header::AUTHORIZATION, value)).into_iter().collect();
            access.check_token(&headers(&all), &uri.parse().unwrap()).is_ok()
        };
        assert!(check(Some("Bearer 0123456789abcdef"), "/api"));
        assert!(check(Some("bearer 0123456789abcdef"), "/api"));
        assert!(check(None, "/api?x=1&token=0123456789abcdef"));
        assert!(!check(None, "/api"));
        assert!(!check(None, "/api?token="));
        assert!(!check(None, "/api?token=0123456789abcde"));
        assert!(!check(Some("Basic 0123456789abcdef"), "/api"));
    }

    #[test]
    fn random_tokens_differ() {
        let (one, other) = (random_token().unwrap(), random_token().unwrap());
        assert_eq!(one.len(), 2 * TOKEN_BYTES);
        assert_ne!(one, other);
    }
}
