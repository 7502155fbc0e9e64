// SPDX-License-Identifier: MPL-2.0
//! `lipsync serve`, started for a test, and how it is spoken to.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use ureq::http::Response;

use super::common::{fixture, plugin_folder, root};
use super::tool::tool;

/// What anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A server. It is killed when it is dropped.
pub struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// As it was printed: with the token, if there is one.
    pub page: String,
    /// `http://127.0.0.1:PORT`.
    pub address: String,
    _home: tempfile::TempDir,
    _plugin: tempfile::TempDir,
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub text: String,
    pub headers: ureq::http::HeaderMap,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Checks the status, and that an error is a sentence with all of `words`.
    #[track_caller]
    pub fn is(self, status: u16, words: &[&str]) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        if status >= 400 {
            let error = self.json()["error"].as_str().expect("an error is a sentence").to_string();
            for word in words {
                assert!(error.contains(word), "no {word:?} in: {error}");
            }
        }
        self
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// `lipsync serve` with the avatars of the fixtures, and a text-to-speech program that says the same every time, and fails
/// where a text has the word "unspeakable".
pub fn command(home: &Path, plugin: &Path) -> Command {
    let speech = fixture("audio/speech.wav");
    let mut command = tool(home);
    command
        .env("GST_PLUGIN_PATH", plugin)
        .env("GST_REGISTRY", root().join("target/tool-cache/serve-registry.bin"))
        .env(
            "LIPSYNC_AVATAR_PATH",
            format!("{}:{}", fixture("avatars").display(), root().join("models").display()),
        )
        .env(
            "LIPSYNC_TTS",
            format!(
                "case \"$(cat)\" in *unspeakable*) echo 'no voice for it' >&2; exit 1;; esac; cat '{}'",
                speech.display()
            ),
        )
        .env_remove("LIPSYNC_TOKEN")
        .arg("serve");
    command
}

impl Server {
    /// Starts it at a free port of 127.0.0.1, with the avatar `own` of the fixtures first.
    pub fn start(options: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", &[&["--avatar", "own"], options].concat())
    }

    pub fn start_at(bind: &str, options: &[&str]) -> Self {
        let (home, plugin) = (tempfile::tempdir().unwrap(), plugin_folder(true));
        let mut command = command(home.path(), plugin.path());
        command.args(["--bind", bind]).args(options).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let page = line.trim().strip_prefix("Open ").expect("it prints its address").to_string();
        let port = page.split(':').nth(2).unwrap().split('/').next().unwrap();
        let address = format!("http://127.0.0.1:{port}");
        Self { child, stdout, page, address, _home: home, _plugin: plugin }
    }

    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// A request. Headers are `Name: value`.
    pub fn ask(&self, method: &str, path: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Answer {
        ask(method, &format!("{}{path}", self.address), headers, body)
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, &[], body)
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, &[], "")
    }

    /// Makes a session; returns its path.
    pub fn session(&self) -> String {
        let made = self.post("/api/sessions", "").is(201, &[]);
        assert_eq!(made.header("location"), format!("/api/sessions/{}", made.json()["id"].as_str().unwrap()));
        made.header("location").to_string()
    }

    /// Waits for a state of a session.
    #[track_caller]
    pub fn wait(&self, session: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        until(what, || {
            last = self.get(session).is(200, &[]).json();
            is_so(&last)
        });
        last
    }

    /// Ends it as Ctrl-C does; returns its exit status and what else it printed.
    pub fn ctrl_c(mut self) -> (Option<i32>, String) {
        super::tool::kill(&self.child, "-INT");
        let mut printed = String::new();
        until("its end", || self.child.try_wait().unwrap().is_some());
        self.stdout.read_to_string(&mut printed).unwrap();
        (self.child.wait().unwrap().code(), printed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A request of any method.
pub fn ask(method: &str, url: &str, headers: &[&str], body: impl AsRef<[u8]>) -> Answer {
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for header in headers {
        let (name, value) = header.split_once(": ").unwrap();
        request = request.header(name, value);
    }
    let response = agent().run(request.body(body.as_ref().to_vec()).unwrap()).unwrap();
    answer(response)
}

fn answer(mut response: Response<ureq::Body>) -> Answer {
    let text = response.body_mut().with_config().limit(1 << 30).read_to_vec().unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    Answer { status: response.status().as_u16(), text, headers: response.headers().clone() }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(PATIENCE))
        .build()
        .into()
}

/// Server-sent events of a session, as they come.
pub struct Listener(mpsc::Receiver<(String, Value)>);

impl Listener {
    pub fn of(server: &Server, session: &str) -> Self {
        let agent: ureq::Agent = ureq::Agent::config_builder().timeout_connect(Some(PATIENCE)).build().into();
        let response = agent.get(format!("{}{session}/events", server.address)).call().unwrap();
        let lines = BufReader::new(response.into_body().into_reader()).lines();
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut name = String::new();
            for line in lines.map_while(Result::ok) {
                if let Some(event) = line.strip_prefix("event: ") {
                    name = event.to_string();
                } else if let Some(data) = line.strip_prefix("data: ")
                    && sender.send((name.clone(), serde_json::from_str(data).unwrap())).is_err()
                {
                    break;
                }
            }
        });
        Self(receiver)
    }

    /// Waits for an event of that name; those before it are skipped.
    #[track_caller]
    pub fn next(&self, name: &str) -> Value {
        let limit = Instant::now() + PATIENCE;
        loop {
            let left = limit.saturating_duration_since(Instant::now());
            let (found, data) = self.0.recv_timeout(left).unwrap_or_else(|_| panic!("no event {name}"));
            if found == name {
                return data;
            }
        }
    }
}

/// Waits until something is so.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < limit, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
