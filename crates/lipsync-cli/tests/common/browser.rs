// SPDX-License-Identifier: MPL-2.0
//! Chromium without a window, driven by the DevTools protocol.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use super::server::PATIENCE;

/// A browser with one page. It is killed when it is dropped.
pub struct Browser {
    child: Child,
    socket: WebSocket<TcpStream>,
    session: String,
    requests: u64,
    /// What the page complained about.
    pub complaints: Vec<String>,
    folder: tempfile::TempDir,
}

impl Browser {
    /// Opens a page in a window of so many pixels. Its camera and microphone are Chromium's own fakes, which beep.
    pub fn open(url: &str, (width, height): (u32, u32)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new("chromium")
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--no-first-run",
                "--remote-debugging-port=0",
            ])
            .args(["--autoplay-policy=no-user-gesture-required", "--use-fake-device-for-media-stream"])
            .args(["--use-fake-ui-for-media-stream", "--mute-audio"])
            .arg(format!("--user-data-dir={}", folder.path().join("profile").display()))
            .arg(format!("--window-size={width},{height}"))
            .arg("about:blank")
            .stderr(Stdio::piped())
            .spawn()
            .expect("chromium is installed: apt-get install chromium");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.strip_prefix("DevTools listening on ").map(String::from));
        let address = address.expect("chromium says where it listens");
        // Else it stops where the pipe is full.
        std::thread::spawn(move || lines.for_each(drop));
        let host = address.trim_start_matches("ws://").split('/').next().unwrap();
        let stream = TcpStream::connect(host).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = tungstenite::client(address.as_str(), stream).unwrap();
        let session = String::new();
        let mut browser = Self { child, socket, session, requests: 0, complaints: Vec::new(), folder };
        let downloads = browser.downloads();
        std::fs::create_dir(&downloads).unwrap();
        let target = browser.command("Target.createTarget", json!({ "url": "about:blank" }));
        let attached = json!({ "targetId": target["targetId"], "flatten": true });
        browser.session =
            browser.command("Target.attachToTarget", attached)["sessionId"].as_str().unwrap().into();
        let behaviour = json!({ "behavior": "allow", "downloadPath": downloads });
        browser.command("Page.setDownloadBehavior", behaviour);
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        browser.command("Emulation.setDeviceMetricsOverride", size);
        browser.command("Runtime.enable", json!({}));
        browser.command("Page.enable", json!({}));
        browser.command("Page.navigate", json!({ "url": url }));
        browser
    }

    /// Where files go that the page lets one keep.
    pub fn downloads(&self) -> PathBuf {
        self.folder.path().join("downloads")
    }

    /// A command of the protocol.
    #[track_caller]
    pub fn command(&mut self, method: &str, parameters: Value) -> Value {
        self.requests += 1;
        let mut request = json!({ "id": self.requests, "method": method, "params": parameters });
        if !self.session.is_empty() {
            request["sessionId"] = self.session.as_str().into();
        }
        self.socket.send(Message::text(request.to_string())).unwrap();
        loop {
            let message = self.socket.read().unwrap();
            let Ok(text) = message.into_text() else { continue };
            let Ok(mut answer) = serde_json::from_str::<Value>(&text) else { continue };
            if answer["id"] == self.requests {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].take();
            }
            if answer["method"] == "Runtime.exceptionThrown" {
                self.complaints.push(answer["params"].to_string());
            }
        }
    }

    /// The value of an expression of the page; promises are awaited.
    #[track_caller]
    pub fn js(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.command("Runtime.evaluate", parameters);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].take()
    }

    /// Waits until an expression is true. Errors are false: the page may not be there yet.
    #[track_caller]
    pub fn wait(&mut self, expression: &str) {
        let guarded = format!("(() => {{ try {{ return !!({expression}); }} catch {{ return false; }} }})()");
        let limit = Instant::now() + PATIENCE;
        while self.js(&guarded) != true {
            let told = "[document.body.innerText, video.videoWidth, video.currentTime, connection?.peer.connectionState]";
            assert!(Instant::now() < limit, "waited in vain for {expression}: {}", self.js(told));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Presses a key.
    pub fn press(&mut self, key: &str) {
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let code = match key {
                "Enter" => 13,
                "Escape" => 27,
                "Tab" => 9,
                _ => 32,
            };
            let mut event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.command("Input.dispatchKeyEvent", event);
        }
    }

    /// Types into what has the focus.
    pub fn type_text(&mut self, text: &str) {
        self.command("Input.insertText", json!({ "text": text }));
    }

    /// The page as it is seen, as a PNG file.
    pub fn screenshot(&mut self, file: &Path) {
        let shot = self.command("Page.captureScreenshot", json!({ "format": "png" }));
        let text = shot["data"].as_str().unwrap().to_string();
        std::fs::write(file, self.decode(&text)).unwrap();
    }

    /// Base64, which the browser knows.
    fn decode(&mut self, text: &str) -> Vec<u8> {
        let bytes = self.js(&format!("Array.from(atob('{text}'), (one) => one.charCodeAt(0))"));
        bytes.as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8).collect()
    }

    /// Bytes that an expression gives, as a typed array or a blob.
    pub fn bytes(&mut self, expression: &str) -> Vec<u8> {
        let text = self.js(&format!(
            "(async () => {{ const url = await new Promise((done) => {{ const reader = new FileReader(); \
             reader.onload = () => done(reader.result); reader.readAsDataURL(new Blob([{expression}])); }}); \
             return url.slice(url.indexOf(',') + 1); }})()"
        ));
        let text = text.as_str().unwrap().to_string();
        let mut all = Vec::new();
        // In pieces: an array of numbers is many times as large.
        for piece in text.as_bytes().chunks(1 << 20) {
            let piece = String::from_utf8(piece.to_vec()).unwrap();
            all.extend(self.decode(&piece));
        }
        all
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
