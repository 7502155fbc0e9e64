// SPDX-License-Identifier: MPL-2.0
//! The options of `serve`.

use std::net::SocketAddr;

use clap::Args;

/// Show avatars in a browser: a page to make them speak, and the same for programs.
///
/// Prints the page's address. Pick an avatar, type what it says, speak into the microphone or drop a file of sound. Programs do
/// the same by HTTP, players watch by WHEP, and it can be sent to a media server by WHIP: docs/serve.md. Ctrl-C ends it.
#[derive(Args, Clone)]
pub struct Serve {
    /// Name or folder of the avatar that is shown first.
    #[arg(long, default_value = "iris", value_name = "NAME_OR_FOLDER")]
    pub avatar: String,
    /// Address and port to listen at. Anything but 127.0.0.1 and [::1] lets others in, who need the token.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub bind: SocketAddr,
    /// What others must know to be let in, at least 16 characters. Default: made at random where others can reach it, also by
    /// an --allow-origin of elsewhere, and printed; else none.
    #[arg(long, env = "LIPSYNC_TOKEN", hide_env_values = true, value_parser = parse_token)]
    pub token: Option<String>,
    /// A page of another address that may use it, as in https://example.org; or its own where a proxy is in front of it.
    #[arg(long, value_name = "ORIGIN", value_parser = parse_origin)]
    pub allow_origin: Vec<String>,
    /// Sessions at a time: avatars that are shown independently of each other.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_sessions: u16,
    /// Viewers of a session at a time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub max_viewers: u16,
    /// Characters of a text.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_text: u32,
    /// Seconds of sound that may wait to be spoken in a session.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub max_sound: u16,
    /// MiB of a file of sound.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub max_upload: u16,
    /// Seconds of a recording; it is finished by itself then.
    #[arg(long, default_value_t = 1800, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub max_recording: u32,
    /// Seconds after which a session ends that nobody watches and nobody uses.
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub idle: u32,
    /// Kilobits a second of the picture.
    #[arg(long, default_value_t = 2500, value_parser = clap::value_parser!(u32).range(100..=50_000))]
    pub bitrate: u32,
    /// Milliseconds of sound that a frame may wait for: 452 is the most exact, 92 the fastest.
    #[arg(long, default_value_t = 212, value_parser = clap::value_parser!(u32).range(92..=1000))]
    pub lookahead: u32,
    /// A STUN server, for viewers behind a router: stun://HOST:PORT.
    #[arg(long, value_name = "URI", value_parser = parse_stun)]
    pub stun: Option<String>,
    /// A TURN server: turn://USER:PASSWORD@HOST:PORT.
    #[arg(long, value_name = "URI", env = "LIPSYNC_TURN", hide_env_values = true, value_parser = parse_turn)]
    pub turn: Option<String>,
}

/// A token is sent in addresses and headers, and is not to be guessed.
fn parse_token(text: &str) -> Result<String, String> {
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    if plain && text.len() >= 16 {
        Ok(text.into())
    } else {
        Err("a token has at least 16 letters, digits or any of -._~".into())
    }
}

fn parse_origin(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.contains('/') => Ok(text.to_ascii_lowercase()),
        _ => Err("an origin is a scheme, a host and perhaps a port, as in https://example.org".into()),
    }
}

/// As webrtcbin wants it: of others it says nothing, and viewers behind a router do not get through.
fn parse_stun(text: &str) -> Result<String, String> {
    match text.strip_prefix("stun://") {
        Some(server) if has_port(server) => Ok(text.into()),
        _ => Err("a STUN server is stun://HOST:PORT, as in stun://stun.example.org:3478".into()),
    }
}

fn parse_turn(text: &str) -> Result<String, String> {
    let server = text.strip_prefix("turn://").or_else(|| text.strip_prefix("turns://"));
    match server.and_then(|server| server.rsplit_once('@')) {
        Some((user, server)) if user.contains(':') && has_port(server) => Ok(text.into()),
        // Of what is wrong nothing is repeated: it has a password.
        _ => Err("a TURN server is turn://USER:PASSWORD@HOST:PORT, or turns:// for TLS".into()),
    }
}

fn has_port(server: &str) -> bool {
    let server = server.split('?').next().unwrap_or_default();
    server.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_a_port() {
        for good in ["stun://stun.example.org:3478", "stun://[2001:db8::1]:3478"] {
            assert!(parse_stun(good).is_ok(), "{good}");
        }
        for bad in ["stun:stun.example.org:3478", "stun://stun.example.org", "stun.example.org:3478"] {
            assert!(parse_stun(bad).is_err(), "{bad}");
        }
        for good in ["turn://me:secret@example.org:3478", "turns://me:s%40@example.org:443?transport=tcp"] {
            assert!(parse_turn(good).is_ok(), "{good}");
        }
        for bad in
            ["turn://example.org:3478", "turn:me:secret@example.org:3478", "turn://me@example.org:3478"]
        {
            assert!(parse_turn(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tokens_are_long_and_plain() {
        assert!(parse_token("0123456789abcdef").is_ok());
        assert!(parse_token("0123456789abcde").is_err());
        assert!(parse_token("0123456789abcdef&").is_err());
    }

    #[test]
    fn origins_have_no_path() {
        assert_eq!(parse_origin("https://Example.org:8443").unwrap(), "https://example.org:8443");
        for bad in ["example.org", "https://", "https://example.org/", "ftp://example.org"] {
            assert!(parse_origin(bad).is_err(), "{bad}");
        }
    }
}
