// SPDX-License-Identifier: MPL-2.0
//! `lipsync serve` as programs and players have it: by HTTP, server-sent events, WebSockets, WHEP and WHIP.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../../lipsync-core/tests/common/mod.rs"]
mod common;
#[path = "common/player.rs"]
mod player;
#[path = "common/server.rs"]
mod server;
#[path = "common/tool.rs"]
mod tool;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use common::{fixture, plugin_folder};
use player::Player;
use serde_json::json;
use server::{Listener, PATIENCE, Server, ask, until};
use tool::ends;
use tungstenite::Message;

const SDP: &str = "Content-Type: application/sdp";

#[test]
fn the_page_is_whole_and_loads_nothing_from_elsewhere() {
    let server = Server::start(&[]);
    let page = server.get("/").is(200, &[]);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.header("content-security-policy").contains("default-src 'none'"));
    let mut files = 0;
    for attribute in ["src=\"", "href=\""] {
        for rest in page.text.split(attribute).skip(1) {
            let name = rest.split('"').next().unwrap();
            if !name.starts_with('#') {
                server.get(&format!("/{name}")).is(200, &[]);
                files += 1;
            }
        }
    }
    assert!(files >= 3, "{}", page.text);
    let avatars = server.get("/api/avatars").is(200, &[]).json();
    assert_eq!(avatars[0]["name"], "own");
    let iris = avatars.as_array().unwrap().iter().find(|avatar| avatar["name"] == "iris").unwrap();
    let nod = json!({ "name": "nod", "use": "gesture", "play": "once" });
    assert!(iris["clips"].as_array().unwrap().contains(&nod), "{iris}");
}

#[test]
fn bad_requests_get_a_sentence() {
    let server = Server::start(&["--max-text", "100"]);
    let session = server.session();
    let long = format!("{{\"text\": \"{}\"}}", "x".repeat(101));
    // What it names may be anybody's.
    let speech = fixture("audio/speech.wav");
    let playlist = format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://{}\n#EXT-X-ENDLIST\n",
        speech.display()
    );
    let huge = format!("{{\"text\": \"{}\"}}", "x".repeat(300_000));
    for (path, body, status, words) in [
        ("/say", "", 400, &["missing field `text`"][..]),
        ("/say", "{", 400, &["JSON is not understood"]),
        ("/say", "{\"text\": 1}", 400, &["expected a string"]),
        ("/say", "{\"text\": \"x\", \"volume\": 2}", 400, &["volume"]),
        ("/say", "{\"text\": \" \"}", 400, &["empty"]),
        ("/say", "{\"text\": \"x\", \"voice\": \"-o/etc/x\"}", 400, &["-o/etc/x", "voices"]),
        ("/say", &long, 413, &["101 characters", "100", "parts"]),
        ("/say", &huge, 413, &["too large"]),
        ("/speak", "", 400, &["no sound"]),
        ("/speak", "These are words, not a sound.", 422, &["the file", "Send speech"]),
        ("/speak", &playlist, 422, &["the file", "names other files", "Send speech"]),
        ("/clip", "{\"name\": \"jump\"}", 404, &["jump", "It has idle"]),
        ("/clip", "{\"name\": \"jump\", \"hold\": true}", 404, &["jump", "It has idle"]),
        ("/state", "{\"name\": \"tired\"}", 400, &["tired", "thinking"]),
        ("/avatar", "{\"name\": \"/etc\"}", 404, &["/etc", "There are own"]),
        ("/whep", "v=0", 415, &["Content-Type", "application/sdp"]),
        ("/push", "{\"url\": \"file:///etc/passwd\"}", 400, &["file:///etc/passwd", "https"]),
        ("/push", "{\"url\": \"http://127.0.0.1:1/\", \"token\": \"a\\nb\"}", 400, &["token"]),
        ("/push", "{\"url\": \"http://127.0.0.1:1/\"}", 502, &["http://127.0.0.1:1/", "Is the server there"]),
        ("/audio", "", 405, &["POST"]),
        ("/nothing", "", 404, &["/nothing"]),
    ] {
        server.post(&format!("{session}{path}"), body).is(status, words);
    }
    let whep = format!("{session}/whep");
    for (offer, status, words) in [
        ("rubbish", 400, "no SDP"),
        ("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", 422, "neither picture nor sound"),
    ] {
        let answer = server.ask("POST", &whep, &[SDP], offer);
        assert!((400..500).contains(&answer.status), "{}", answer.text);
        if answer.status == status {
            answer.is(status, &[words]);
        }
    }
    server.delete(&format!("{whep}/nobody")).is(404, &["no such viewer"]);
    server.get(&format!("{session}/audio?rate=1")).is(400, &["rate=1"]);
    server.get(&format!("{session}/audio?rate=fast")).is(400, &["rate"]);
    server.get(&format!("{session}/audio")).is(400, &["WebSockets"]);
    server.get(&format!("{session}/recording")).is(404, &["nothing is recorded"]);
    server.delete(&format!("{session}/recording")).is(409, &["not being recorded"]);
    server.delete(&format!("{session}/push")).is(409, &["not sent"]);
    server.ask("PUT", &session, &[], "").is(405, &["PUT"]);
    server.post("/api/sessions", "{\"avatar\": \"nobody\"}").is(404, &["nobody", "There are own"]);
    server.get("/api/sessions/nobody").is(404, &["nobody"]);
    server.get("/nothing").is(404, &["/nothing"]);
    let options = server.ask("OPTIONS", &whep, &[], "").is(204, &[]);
    assert_eq!(options.header("accept-post"), "application/sdp");
}

#[test]
fn wrong_options_are_refused() {
    let (home, plugin) = (tempfile::tempdir().unwrap(), plugin_folder(true));
    for (options, code, words) in [
        (&["--bind", "everywhere"][..], 2, "--bind"),
        (&["--token", "short"], 2, "16"),
        (&["--allow-origin", "example.org"], 2, "https://example.org"),
        (&["--stun", "stun:stun.example.org:3478"], 2, "stun://HOST:PORT"),
        (&["--turn", "turn://example.org:3478"], 2, "turn://USER:PASSWORD@HOST:PORT"),
        (&["--avatar", "nobody"], 1, "nobody: no avatar of that name"),
        (&["--avatar", "own", "--bind", "192.0.2.1:1"], 1, "192.0.2.1:1 cannot be listened at"),
    ] {
        let mut command = server::command(home.path(), plugin.path());
        command.args(options).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        let ran = ends(command.spawn().unwrap());
        assert_eq!(ran.code, Some(code), "{options:?}: {}", ran.output);
        assert!(ran.output.contains(words), "{options:?}: {}", ran.output);
    }
}

#[test]
fn limits_are_kept() {
    let server = Server::start(&[
        "--max-sessions",
        "1",
        "--max-viewers",
        "1",
        "--max-sound",
        "4",
        "--max-upload",
        "1",
    ]);
    let session = server.session();
    server.post("/api/sessions", "").is(429, &["1 sessions", "--max-sessions"]);

    let player = Player::new();
    let offer = player.offer();
    let whep = format!("{session}/whep");
    server.ask("POST", &whep, &[SDP], &offer).is(201, &[]);
    server.ask("POST", &whep, &[SDP], &offer).is(429, &["1 watch", "--max-viewers"]);

    let speak = format!("{session}/speak");
    let speech = std::fs::read(fixture("audio/speech.wav")).unwrap();
    server.ask("POST", &speak, &[], vec![0; (1 << 20) + 1]).is(413, &["too large", "--max-upload"]);
    server.ask("POST", &speak, &[], vec![0; 1 << 20]).is(422, &["the file"]);
    server.ask("POST", &speak, &[], &speech).is(202, &[]);
    server.ask("POST", &speak, &[], &speech).is(429, &["would wait", "--max-sound"]);
    server.post(&format!("{session}/interrupt"), "").is(200, &[]);
    server.ask("POST", &speak, &[], &speech).is(202, &[]);

    server.delete(&session).is(200, &[]);
    server.session();
}

#[test]
fn strangers_need_the_token() {
    let server = Server::start_at("0.0.0.0:0", &["--avatar", "own"]);
    let token = server.page.split("?token=").nth(1).expect("it prints a token").to_string();
    assert!(token.len() >= 32, "{token}");
    server.get("/").is(200, &[]);
    let refused = server.get("/api/sessions").is(401, &["token", "Bearer"]);
    assert_eq!(refused.header("www-authenticate"), "Bearer");
    server.get("/api/sessions?token=0123456789abcdef").is(401, &[]);
    server.post("/api/sessions", "").is(401, &[]);
    server.get(&format!("/api/sessions?token={token}")).is(200, &[]);
    let bearer = format!("Authorization: Bearer {token}");
    server.ask("GET", "/api/sessions", &[&bearer], "").is(200, &[]);

    let server = Server::start(&["--token", "0123456789abcdef"]);
    assert!(server.page.ends_with("/?token=0123456789abcdef"));
    server.get("/api/avatars").is(401, &[]);
    server.get("/api/avatars?token=0123456789abcdef").is(200, &[]);

    // A proxy may stand in front of it, which lets in everybody.
    let server = Server::start(&["--allow-origin", "https://example.org"]);
    server.get("/api/sessions").is(401, &[]);
    let server = Server::start(&["--allow-origin", "http://localhost:3000"]);
    server.get("/api/sessions").is(200, &[]);
    let server = Server::start_at("127.0.0.2:0", &["--avatar", "own"]);
    ask("GET", &format!("{}api/sessions", server.page), &[], "").is(200, &[]);
}

#[test]
fn strangers_cannot_take_all_places() {
    let server = Server::start(&[]);
    let address = server.address.trim_start_matches("http://");
    let mut silent: Vec<TcpStream> = (0..600).map(|_| TcpStream::connect(address).unwrap()).collect();
    server.get("/").is(200, &[]);
    silent[0].set_read_timeout(Some(PATIENCE)).unwrap();
    let left = silent[0].read_to_end(&mut Vec::new());
    assert!(left.is_ok(), "who says nothing is not waited for: {left:?}");
}

#[test]
fn other_sites_are_kept_out() {
    let server = Server::start(&["--allow-origin", "https://example.org", "--token", "0123456789abcdef"]);
    let port = server.address.rsplit(':').next().unwrap();
    let request = |headers: &[&str]| {
        let headers = [headers, &["Authorization: Bearer 0123456789abcdef"]].concat();
        server.ask("POST", "/api/sessions", &headers, "{\"avatar\": \"nobody\"}")
    };
    request(&["Origin: http://evil.example"]).is(403, &["http://evil.example", "--allow-origin"]);
    request(&["Origin: null"]).is(403, &[]);
    request(&["Host: evil.example"]).is(403, &["evil.example"]);
    request(&[&format!("Host: localhost:{port}"), &format!("Origin: http://localhost:{port}")]).is(404, &[]);
    let allowed = request(&["Origin: https://example.org"]).is(404, &[]);
    assert_eq!(allowed.header("access-control-allow-origin"), "https://example.org");
    let preflight = ["Origin: https://example.org", "Access-Control-Request-Method: POST"];
    let answer = server.ask("OPTIONS", "/api/sessions", &preflight, "").is(204, &[]);
    assert!(answer.header("access-control-allow-headers").contains("authorization"));
    let refused = server.ask("OPTIONS", "/api/sessions", &["Origin: http://evil.example", preflight[1]], "");
    assert_eq!(refused.is(403, &[]).header("access-control-allow-origin"), "");
}

#[test]
fn what_is_said_is_told() {
    let server = Server::start(&[]);
    let session = server.session();
    let events = Listener::of(&server, &session);
    assert_eq!(events.next("status")["state"], "idle");

    // As long as the file is, at 48 kHz.
    let speech = hound::WavReader::open(fixture("audio/speech.wav")).unwrap();
    let samples = u64::from(speech.duration()) * 48_000 / u64::from(speech.spec().sample_rate);
    let speech = std::fs::read(fixture("audio/speech.wav")).unwrap();
    let asked = server.ask("POST", &format!("{session}/speak"), &[], &speech).is(202, &[]).json();
    assert_eq!(asked["utterance"], "u1");
    let began = events.next("utterance-start");
    assert!(began["id"] == "u1" && began["reply_ms"].as_u64().is_some(), "{began}");
    events.next("speech-start");
    let ended = events.next("utterance-end");
    assert!(ended["id"] == "u1" && ended["reason"] == "finished", "{ended}");
    assert!(ended["samples"].as_u64().unwrap().abs_diff(samples) <= 3, "{ended}, {samples}");
    events.next("drained");

    // A text is spoken by parts, and is one utterance.
    let text = "This is a sentence that is long enough to be spoken all by itself. And this is another.";
    let say = |text: &str| {
        server.post(&format!("{session}/say"), &json!({ "text": text }).to_string()).is(202, &[]).json()
    };
    assert_eq!(say(text)["utterance"], "u2");
    assert_eq!(events.next("utterance-start")["id"], "u2");
    let ended = events.next("utterance-end");
    assert!(ended["id"] == "u2" && ended["reason"] == "finished", "{ended}");
    assert!(ended["samples"].as_u64().unwrap().abs_diff(2 * samples) <= 6, "{ended}, {samples}");

    // What cannot be spoken ends it.
    say(&text.replace("another", "unspeakable"));
    assert!(events.next("warning")["message"].as_str().unwrap().contains("no voice for it"));
    let ended = events.next("utterance-end");
    assert!(ended["id"] == "u3" && ended["reason"] == "finished", "{ended}");

    // An interruption takes away what is being said, and what waits.
    say("one");
    say("two");
    assert_eq!(events.next("utterance-start")["id"], "u4");
    events.next("speech-start");
    let answer = server.post(&format!("{session}/interrupt"), "").is(200, &[]).json();
    assert_eq!(answer["utterance"], "u4", "{answer}");
    let ended = events.next("utterance-end");
    assert!(ended["id"] == "u4" && ended["reason"] == "interrupted", "{ended}");
    assert_eq!(ended["samples"], answer["samples"]);
    let ended = events.next("utterance-end");
    assert!(ended["id"] == "u5" && ended["samples"] == 0, "{ended}");
    let answer = server.post(&format!("{session}/interrupt"), "").is(200, &[]).json();
    assert!(answer["utterance"].is_null() && answer["samples"] == 0, "{answer}");
    say("three");
    assert_eq!(events.next("utterance-start")["id"], "u6");

    server.delete(&session).is(200, &[]);
    assert_eq!(events.next("end")["reason"], "it was ended");
}

#[test]
fn raw_sound_is_spoken_as_it_comes() {
    let server = Server::start(&["--max-sound", "8"]);
    let session = server.session();
    let events = Listener::of(&server, &session);
    let url = format!("{}{session}/audio?rate=16000", server.address.replace("http", "ws"));
    let stream = TcpStream::connect(server.address.trim_start_matches("http://")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut socket, _) = tungstenite::client(url, stream).unwrap();
    let speech = hound::WavReader::open(fixture("audio/speech.wav")).unwrap().into_samples::<i16>();
    let bytes: Vec<u8> = speech.flat_map(|sample| sample.unwrap().to_le_bytes()).collect();
    // Pieces that do not end with a sample.
    for piece in bytes.chunks(999) {
        socket.send(Message::binary(piece.to_vec())).unwrap();
    }
    let told = socket.read().unwrap().into_text().unwrap();
    assert_eq!(told.as_str(), "{\"utterance\":\"u1\"}");
    assert_eq!(events.next("utterance-start")["id"], "u1");
    socket.send(Message::text("end")).unwrap();
    let ended = events.next("utterance-end");
    let samples = bytes.len() as u64 / 2 * 3;
    assert_eq!(ended["reason"], "finished");
    // The filter keeps some, and a block may not be full.
    assert!(samples.abs_diff(ended["samples"].as_u64().unwrap()) < 1000, "{ended}, {samples}");

    socket.send(Message::binary(bytes[..64_000].to_vec())).unwrap();
    assert_eq!(events.next("utterance-start")["id"], "u2");
    socket.send(Message::text("interrupt")).unwrap();
    let told = socket.read().unwrap().into_text().unwrap();
    assert_eq!(told.as_str(), "{\"utterance\":\"u2\"}");
    assert!(socket.read().unwrap().into_text().unwrap().contains("\"utterance\":\"u2\""));
    assert_eq!(events.next("utterance-end")["reason"], "interrupted");

    // Sent faster than it is spoken: it waits.
    let whole = [&bytes[..], &bytes[..]].concat();
    socket.send(Message::binary(whole.clone())).unwrap();
    socket.send(Message::binary(whole)).unwrap();
    assert_eq!(events.next("utterance-start")["id"], "u3");
    socket.send(Message::text("end")).unwrap();
    let ended = events.next("utterance-end");
    assert!(ended["samples"].as_u64().unwrap().abs_diff(4 * samples) < 4000, "{ended}, {samples}");
    let told = socket.read().unwrap().into_text().unwrap();
    assert_eq!(told.as_str(), "{\"utterance\":\"u3\"}");

    socket.send(Message::text("sing")).unwrap();
    let closed = socket.read().unwrap();
    assert!(
        matches!(&closed, Message::Close(Some(frame)) if frame.reason.contains("\"sing\"")),
        "{closed:?}"
    );
}

#[test]
fn a_player_watches_and_hears() {
    let server = Server::start(&[]);
    let session = server.session();
    let whep = format!("{session}/whep");
    let player = Player::new();
    let answer = server.ask("POST", &whep, &[SDP], player.offer()).is(201, &[]);
    assert_eq!(answer.header("content-type"), "application/sdp");
    let viewer = answer.header("location").to_string();
    assert!(viewer.starts_with(&format!("{whep}/")), "{viewer}");
    assert!(answer.text.contains("a=candidate:") && answer.text.contains("a=sendonly"), "{}", answer.text);
    player.accept(&answer.text);
    server.wait(&session, "the viewer", |status| status["viewers"] == 1);
    until("pictures and silence", || player.pictures().0 > 25 && player.sounds().0 > 48_000);
    assert_eq!(player.pictures().1, 480);
    assert_eq!(player.sounds().1, 0);
    let speech = std::fs::read(fixture("audio/speech.wav")).unwrap();
    server.ask("POST", &format!("{session}/speak"), &[], speech).is(202, &[]);
    until("a voice", || player.sounds().1 > 10_000);

    // Candidates that come late, and what is none.
    let patch =
        |body: &str| server.ask("PATCH", &viewer, &["Content-Type: application/trickle-ice-sdpfrag"], body);
    patch("a=mid:0\r\na=candidate:1 1 UDP 2122252543 127.0.0.1 9 typ host\r\n").is(204, &[]);
    patch("a=ice-ufrag:x\r\na=ice-pwd:y\r\n").is(422, &["candidates"]);
    server.ask("PATCH", &viewer, &[SDP], "").is(415, &["trickle"]);

    // A second one disturbs nobody, and another avatar reaches both.
    let other = Player::new();
    other.accept(&server.ask("POST", &whep, &[SDP], other.offer()).is(201, &[]).text);
    until("pictures", || other.pictures().0 > 10);
    server.post(&format!("{session}/avatar"), "{\"name\": \"own_160\"}").is(200, &[]);
    until("the other avatar", || player.pictures().1 == 320 && other.pictures().1 == 320);

    server.delete(&viewer).is(200, &[]);
    server.delete(&viewer).is(404, &["has left"]);
    server.wait(&session, "one viewer", |status| status["viewers"] == 1);
    let before = other.pictures().0;
    until("more pictures", || other.pictures().0 > before + 10);
}

#[test]
fn it_is_sent_to_a_server_by_whip() {
    let server = Server::start(&[]);
    let session = server.session();
    let player = Player::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::scope(|scope| {
        let media_server = scope.spawn(|| {
            let (head, offer, mut stream) = request(&listener);
            assert!(head.starts_with("POST /live "), "{head}");
            let head = head.to_lowercase();
            assert!(head.contains("authorization: bearer secret") && head.contains("content-type: application/sdp"));
            let answer = player.answer(&offer);
            write!(
                stream,
                "HTTP/1.1 201 Created\r\nContent-Type: application/sdp\r\nLocation: /live/1\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{answer}",
                answer.len()
            )
            .unwrap();
            drop(stream);
            let (head, _, mut stream) = request(&listener);
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
            head
        });
        let url = format!("http://127.0.0.1:{port}/live");
        let push = format!("{session}/push");
        let body = json!({ "url": url, "token": "secret" }).to_string();
        let status = server.post(&push, &body).is(201, &[]).json();
        assert_eq!(status["pushing"], url.as_str());
        server.post(&push, &body).is(409, &["already"]);
        until("pictures and sound", || player.pictures().0 > 10 && player.sounds().0 > 10_000);
        server.delete(&push).is(200, &[]);
        let head = media_server.join().unwrap();
        assert!(head.starts_with("DELETE /live/1 "), "{head}");
    });
    assert!(server.get(&session).json()["pushing"].is_null());
}

/// A request's head and body.
fn request(listener: &TcpListener) -> (String, String, TcpStream) {
    let mut stream = BufReader::new(listener.accept().unwrap().0);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head}");
    }
    let length =
        head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap(), stream.into_inner())
}

#[test]
fn a_recording_has_picture_and_sound() {
    let server = Server::start(&[]);
    let session = server.session();
    let events = Listener::of(&server, &session);
    let recording = format!("{session}/recording");
    server.post(&recording, "").is(201, &[]);
    server.post(&recording, "").is(409, &["already"]);
    server.post(&format!("{session}/avatar"), "{\"name\": \"own_160\"}").is(409, &["recorded"]);
    let speech = std::fs::read(fixture("audio/speech.wav")).unwrap();
    server.ask("POST", &format!("{session}/speak"), &[], speech).is(202, &[]);
    events.next("drained");
    let url = server.delete(&recording).is(200, &[]).json()["url"].as_str().unwrap().to_string();
    let agent = ureq::get(format!("{}{url}", server.address));
    let mut answer = agent.call().unwrap();
    assert_eq!(answer.headers()["content-type"], "video/mp4");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("film.mp4");
    std::fs::write(&file, answer.body_mut().read_to_vec().unwrap()).unwrap();
    let probe = Command::new("ffprobe")
        .args(["-v", "error", "-of", "json", "-show_entries", "stream=codec_name,start_time,duration"])
        .arg(&file)
        .output()
        .unwrap();
    let streams = serde_json::from_slice::<serde_json::Value>(&probe.stdout).unwrap();
    let number = |n: usize, key: &str| streams["streams"][n][key].as_str().unwrap().parse::<f64>().unwrap();
    assert_eq!(streams["streams"][0]["codec_name"], "h264", "{streams}");
    assert_eq!(streams["streams"][1]["codec_name"], "aac", "{streams}");
    // Whether they are in step is judged by `make test-web`.
    assert!((number(0, "start_time") - number(1, "start_time")).abs() < 1.0, "{streams}");
    assert!(number(0, "duration") > 3.0 && number(1, "duration") > 3.0, "{streams}");

    // Another replaces it.
    server.post(&recording, "").is(201, &[]);
    server.get(&url).is(404, &["nothing is recorded"]);
    server.delete(&session).is(200, &[]);
}

#[test]
fn nobody_needs_what_nobody_uses() {
    let server = Server::start(&["--idle", "1"]);
    let session = server.session();
    let events = Listener::of(&server, &session);
    assert!(events.next("end")["reason"].as_str().unwrap().contains("nobody has used it for 1 s"));
    until("its end", || server.get(&session).status == 404);
}

/// Watches a session, records it, and has it say something.
fn use_it(server: &Server, session: &str) -> Player {
    let player = Player::new();
    let answer = server.ask("POST", &format!("{session}/whep"), &[SDP], player.offer()).is(201, &[]);
    player.accept(&answer.text);
    until("pictures", || player.pictures().0 > 5);
    server.post(&format!("{session}/recording"), "").is(201, &[]);
    server.post(&format!("{session}/say"), "{\"text\": \"one\"}").is(202, &[]);
    player
}

#[test]
fn sessions_leave_nothing_behind() {
    let server = Server::start(&[]);
    let round = || {
        let session = server.session();
        let player = use_it(&server, &session);
        until("a voice", || player.sounds().1 > 100);
        server.delete(&session).is(200, &[]);
    };
    let threads = || std::fs::read_dir(format!("/proc/{}/task", server.process())).unwrap().count();
    let open_files = || std::fs::read_dir(format!("/proc/{}/fd", server.process())).unwrap().count();
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.process())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap().to_string();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    };
    // What the first ones make once and for all.
    round();
    round();
    let settled = || {
        let mut last = (0, 0);
        let mut same = 0;
        until("threads to end", || {
            let now = (threads(), open_files());
            same = if now == last { same + 1 } else { 0 };
            last = now;
            std::thread::sleep(std::time::Duration::from_millis(200));
            same > 20
        });
    };
    settled();
    let (before, memory_before) = ((threads(), open_files()), memory());
    for _ in 0..10 {
        round();
    }
    // Those of pools end when nothing has been for them to do for a while.
    until("threads and files to be as before", || threads() <= before.0 && open_files() <= before.1);
    let memory_after = memory();
    println!("{before:?}, {memory_before} MiB before and {memory_after} MiB after ten sessions");
    // The C library keeps an arena for each thread that was there at the same time.
    assert!(memory_after < memory_before + 64, "{memory_before} MiB before, {memory_after} MiB after");
    assert_eq!(server.get("/api/sessions").json(), json!([]));
}

#[test]
fn ctrl_c_ends_everything() {
    let server = Server::start(&[]);
    let session = server.session();
    let events = Listener::of(&server, &session);
    let _player = use_it(&server, &session);
    events.next("speech-start");
    let address = server.address.clone();
    let (code, printed) = server.ctrl_c();
    assert_eq!((code, printed.as_str()), (Some(0), ""));
    assert!(TcpStream::connect(address.trim_start_matches("http://")).is_err());
}

#[test]
fn several_sessions_are_independent() {
    let server = Server::start(&[]);
    let (one, other) = (server.session(), server.session());
    let (events, others) = (Listener::of(&server, &one), Listener::of(&server, &other));
    let said = ask("POST", &format!("{}{one}/say", server.address), &[], "{\"text\": \"one\"}").is(202, &[]);
    assert_eq!(said.json()["utterance"], "u1");
    events.next("speech-start");
    assert_eq!(server.get(&other).json()["speaking"], false);
    server.delete(&one).is(200, &[]);
    events.next("end");
    server.post(&format!("{other}/say"), "{\"text\": \"one\"}").is(202, &[]);
    assert_eq!(others.next("utterance-start")["id"], "u1");
    assert_eq!(server.get("/api/sessions").json().as_array().unwrap().len(), 1);
}
