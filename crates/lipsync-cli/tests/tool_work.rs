// SPDX-License-Identifier: MPL-2.0
//! `lipsync work` and `split`, as the engine of a queue runs them.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../../lipsync-core/tests/common/mod.rs"]
mod common;
#[path = "common/tool.rs"]
mod tool;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::fixture;
use serde_json::{Value, json};
use tool::{Ran, ends, ffmpeg, kill, names, path, tool, tool_at, with_plugin};

fn avatar(name: &str) -> String {
    fixture(&format!("avatars/{name}")).display().to_string()
}

/// A worker in a folder, given a job by stdin.
fn start(folder: &Path, job: &str, options: &[&str]) -> Child {
    let mut command = tool(folder);
    let command = with_plugin(&mut command).current_dir(folder).args(["work", "-"]).args(options);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(job.as_bytes()).unwrap();
    child
}

/// A script for the shell, to which the tool is `$0`.
fn in_shell(folder: &Path, script: &str) -> Command {
    let mut shell = tool_at(Path::new("sh"), folder);
    with_plugin(&mut shell).current_dir(folder).args(["-c", script, env!("CARGO_BIN_EXE_lipsync")]);
    shell
}

fn work(folder: &Path, job: &Value) -> Ran {
    ends(start(folder, &job.to_string(), &[]))
}

/// The last line of a worker's output.
#[track_caller]
fn last(ran: &Ran) -> Value {
    let line = ran.output.lines().last().unwrap_or_else(|| panic!("nothing was printed"));
    serde_json::from_str(line).unwrap_or_else(|_| panic!("{}", ran.output))
}

/// The report that a successful run prints.
#[track_caller]
fn done(ran: Ran) -> Value {
    assert_eq!(ran.code, Some(0), "{}", ran.output);
    last(&ran)["result"].clone()
}

fn report(video: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(format!("{}.json", video.display())).unwrap()).unwrap()
}

/// A checksum of each frame, as it is decoded, with its time.
fn frames(video: &Path) -> String {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-i", path(video), "-map", "0:v", "-f", "framemd5", "-"]);
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

/// Waits for something to happen, with patience.
#[track_caller]
fn wait_for(what: &str, mut happened: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !happened() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{what} does not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A sound of that many seconds, silent for a second from `pause` on.
fn sound(folder: &Path, seconds: u32, pause: u32) -> PathBuf {
    let file = folder.join("speech.wav");
    let source = format!(
        "aevalsrc='0.3*sin(300*2*PI*t)*sin(3*t)*(1-between(t,{pause},{pause}+1))':s=16000:d={seconds}"
    );
    ffmpeg(&["-f", "lavfi", "-i", &source], &file);
    file
}

#[test]
fn a_job_is_done_once() {
    let folder = tempfile::tempdir().unwrap();
    let video = folder.path().join("new/folder/out.mp4");
    let speech = fixture("audio/speech.wav");
    let mut job = json!({ "speech": speech, "video": "new/folder/out.mp4", "avatar": avatar("own") });
    let ran = work(folder.path(), &job);
    assert!(ran.output.contains("\"stage\":\"render\""), "{}", ran.output);
    let first = done(ran);
    assert_eq!(
        (&first["frames"], &first["already"], &first["resumed"]),
        (&json!(83), &json!(false), &json!(0))
    );
    let bytes = std::fs::read(&video).unwrap();
    assert_eq!(first["sha256"], lipsync_core::file::sha256_hex(&bytes));
    assert_eq!(first["bytes"], bytes.len());
    assert_eq!(report(&video)["status"], "done");
    assert_eq!(names(video.parent().unwrap()).len(), 2, "{:?}", names(video.parent().unwrap()));

    let written = std::fs::metadata(&video).unwrap().modified().unwrap();
    assert_eq!(done(work(folder.path(), &job))["already"], true);
    // A job that fails says nothing of the video that another has made.
    let lost = work(folder.path(), &json!({ "speech": "none.wav", "video": "new/folder/out.mp4" }));
    assert_eq!((lost.code, &report(&video)["status"]), (Some(3), &json!("done")), "{}", lost.output);
    assert_eq!(std::fs::metadata(&video).unwrap().modified().unwrap(), written);
    // What is damaged is made again, and so is what another job asks for.
    std::fs::write(&video, "damaged").unwrap();
    assert_eq!(done(work(folder.path(), &job))["already"], false);
    job["fps"] = json!(50);
    assert_eq!(done(work(folder.path(), &job))["frames"], 166);
    assert_eq!(names(video.parent().unwrap()).len(), 2);
}

/// The pictures are lossless, so that the frames can be compared to the bit.
#[test]
fn a_killed_job_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let speech = sound(folder.path(), 130, 60);
    let job = json!({ "speech": "speech.wav", "video": "out.mov", "avatar": avatar("own_160"), "fps": 5 });
    let at_work = folder.path().join(".out.mov.work");
    let first = start(folder.path(), &job.to_string(), &[]);
    wait_for("the first piece", || at_work.join("0-299.mov").exists());
    let second = work(folder.path(), &job);
    let is_busy = second.code == Some(1) && last(&second)["busy"] == true && last(&second)["retry"] == true;
    assert!(is_busy, "{}", second.output);
    assert!(!folder.path().join("out.mov.json").exists());
    kill(&first, "-KILL");
    assert_eq!(ends(first).code, None);

    // An interruption leaves what is complete, too.
    let third = start(folder.path(), &job.to_string(), &[]);
    let own = format!("partial-{}", third.id());
    wait_for("the second piece", || names(&at_work).iter().any(|name| name.ends_with(&own)));
    kill(&third, "-TERM");
    let third = ends(third);
    assert_eq!(third.code, Some(130), "{}", third.output);

    let report = done(work(folder.path(), &job));
    assert_eq!((&report["frames"], &report["resumed"]), (&json!(650), &json!(300)));
    let mut left = names(folder.path());
    left.retain(|name| name.contains("out.mov"));
    left.sort();
    assert_eq!(left, ["out.mov", "out.mov.json"]);
    let whole = folder.path().join("whole.mov");
    let arguments = ["render", path(&speech), path(&whole), "--avatar", &avatar("own_160"), "--fps", "5"];
    ends(with_plugin(&mut tool(folder.path())).args(arguments).spawn().unwrap()).succeeds();
    assert_eq!(frames(&folder.path().join("out.mov")), frames(&whole));
}

#[test]
fn a_job_ends_with_its_parent() {
    let folder = tempfile::tempdir().unwrap();
    sound(folder.path(), 600, 60);
    let job = json!({ "speech": "speech.wav", "video": "out.mp4", "avatar": avatar("own_160") });
    std::fs::write(folder.path().join("job.json"), job.to_string()).unwrap();
    let script = r#"trap "" TERM; "$0" work job.json --with-parent & echo $! > pid; wait"#;
    let mut parent = in_shell(folder.path(), script).spawn().unwrap();
    wait_for("the rendering", || folder.path().join(".out.mp4.work").exists());
    let worker = std::fs::read_to_string(folder.path().join("pid")).unwrap();
    let worker = Path::new("/proc").join(worker.trim());
    assert!(worker.exists());
    kill(&parent, "-KILL");
    parent.wait().unwrap();
    let is_gone = || {
        let state = std::fs::read_to_string(worker.join("stat")).unwrap_or_default();
        // Where nobody waits for orphans, it stays as a zombie.
        state.is_empty() || state.contains(") Z ")
    };
    wait_for("its end", is_gone);
}

#[test]
fn wrong_jobs_are_told_from_those_to_be_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let speech = fixture("audio/speech.wav");
    std::fs::copy(&speech, at("speech.wav")).unwrap();
    std::fs::write(at("junk.mp3"), [7; 1000]).unwrap();
    std::fs::write(at("mine.mp4"), "mine").unwrap();
    std::fs::write(at("talk.mp4.json"), "somebody's").unwrap();
    let own = avatar("own");
    for (job, word) in [
        ("{", "stdin: is no job"),
        (r#"{"speech": "speech.wav", "video": "a.mp4", "vidio": "b"}"#, "unknown field `vidio`"),
        (r#"{"speech": "speech.wav"}"#, "missing field `video`"),
        (r#"{"video": "a.mp4"}"#, "nothing to speak"),
        (r#"{"speech": "speech.wav", "text": "a", "video": "a.mp4"}"#, "Give one of them"),
        (r#"{"speech": "speech.wav", "voice": "a", "video": "a.mp4"}"#, "\\\"voice\\\" is for"),
        (r#"{"text": "a", "frames": [0, 1], "video": "a.mp4"}"#, "cannot be split"),
        (r#"{"speech": "speech.wav", "frames": [0, 1], "parts": ["b.mp4"], "video": "a.mp4"}"#, "exclude"),
        (r#"{"speech": "speech.wav", "frames": [2, 1], "video": "a.mp4"}"#, "behind the last"),
        (r#"{"speech": "speech.wav", "parts": [], "video": "a.mp4"}"#, "names none"),
        (r#"{"speech": "speech.wav", "fps": 0, "video": "a.mp4"}"#, "\\\"fps\\\""),
        (r#"{"speech": "speech.wav", "emphasis": 2, "video": "a.mp4"}"#, "\\\"emphasis\\\""),
        (r#"{"speech": "speech.wav", "size": "7x7", "video": "a.mp4"}"#, "\\\"size\\\""),
        (r#"{"speech": "speech.wav", "video": "a.txt"}"#, "its ending"),
        (r#"{"speech": "speech.wav", "video": "a/"}"#, "a job writes a file"),
        (r#"{"speech": "mine.mp4", "video": "mine.mp4"}"#, "would be read and written"),
        (r#"{"speech": "speech.wav", "avatar": "nobody", "video": "a.mp4"}"#, "no avatar of that name"),
        (
            r#"{"speech": "speech.wav", "avatar": "OWN", "background": "none.png", "video": "a.mp4"}"#,
            "--background",
        ),
        (r#"{"speech": "speech.wav", "avatar": "OWN", "clip": "jump", "video": "a.mp4"}"#, "--clip jump"),
        (r#"{"speech": "none.wav", "avatar": "OWN", "video": "a.mp4"}"#, "none.wav: no such file"),
        // The character is one that a terminal must not get, and that JSON has an escape of its own for.
        (
            r#"{"speech": "none\u200f.wav", "avatar": "OWN", "video": "a.mp4"}"#,
            r"none\u200f.wav: no such file",
        ),
        (r#"{"speech": "junk.mp3", "avatar": "OWN", "video": "a.mp4"}"#, "junk.mp3: "),
        (
            r#"{"speech": "speech.wav", "avatar": "OWN", "frames": [900, 901], "video": "a.mp4"}"#,
            "has no frame 900",
        ),
        (
            r#"{"speech": "speech.wav", "avatar": "OWN", "parts": ["b.mp4"], "video": "a.mp4"}"#,
            "b.mp4: no such file",
        ),
        (r#"{"speech": "speech.wav", "avatar": "OWN", "video": "mine.mp4"}"#, "no job has made it"),
        // A report of the first try would have told the second that a job has made it.
        (r#"{"speech": "speech.wav", "avatar": "OWN", "video": "mine.mp4"}"#, "no job has made it"),
        (
            r#"{"speech": "speech.wav", "avatar": "OWN", "video": "talk.mp4"}"#,
            "talk.mp4.json: is there already",
        ),
        (r#"{"text": " ", "avatar": "OWN", "video": "a.mp4"}"#, "the text is empty"),
    ] {
        let ran = ends(start(folder.path(), &job.replace("OWN", &own), &[]));
        assert_eq!(ran.code, Some(3), "{job}: {}", ran.output);
        assert!(ran.output.contains(word), "{job}: {}", ran.output);
        assert_eq!(
            (&last(&ran)["retry"], &last(&ran)["busy"]),
            (&json!(false), &json!(false)),
            "{}",
            ran.output
        );
    }
    assert_eq!(std::fs::read(at("mine.mp4")).unwrap(), b"mine");
    assert_eq!(std::fs::read(at("talk.mp4.json")).unwrap(), b"somebody's");
    assert_eq!(report(&at("a.mp4"))["status"], "failed");
    assert!(!names(folder.path()).iter().any(|name| name.starts_with('.') && name.contains(".mp4")));

    // A disk that is full may have room later. No file may become larger than 16 KiB.
    let job = json!({ "speech": "speech.wav", "video": "big.mov", "avatar": own });
    std::fs::write(at("job.json"), job.to_string()).unwrap();
    let ran = ends(
        in_shell(folder.path(), r#"trap "" XFSZ; ulimit -f 32; exec "$0" work job.json"#).spawn().unwrap(),
    );
    assert_eq!(ran.code, Some(1), "{}", ran.output);
    assert_eq!(last(&ran)["retry"], true, "{}", ran.output);
    assert!(ran.output.contains("cannot be written"), "{}", ran.output);
    assert_eq!(report(&at("big.mov"))["retry"], true);
    assert_eq!(done(work(folder.path(), &job))["frames"], 83);
}

#[test]
fn a_job_is_split_where_it_is_quiet_and_joined_to_the_same_video() {
    let folder = tempfile::tempdir().unwrap();
    sound(folder.path(), 11, 6);
    let own = avatar("own_160");
    let job = json!({ "speech": "speech.wav", "video": "out.mov", "avatar": own, "fps": 30 });
    std::fs::write(folder.path().join("job.json"), job.to_string()).unwrap();
    let run = |arguments: &[&str]| {
        ends(
            with_plugin(&mut tool(folder.path())).current_dir(folder.path()).args(arguments).spawn().unwrap(),
        )
    };
    let split = last(&run(&["split", "job.json", "--parts", "9"]));
    assert_eq!(split["frames"], 330);
    let parts = split["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 2, "none is shorter than five seconds");
    let first: Value = serde_json::from_slice(&std::fs::read(parts[0].as_str().unwrap()).unwrap()).unwrap();
    let end = first["frames"][1].as_u64().unwrap();
    assert!((178..210).contains(&end), "the pause is from 180 to 210: {end}");
    for part in parts {
        done(run(&["work", part.as_str().unwrap()]));
    }
    let joined = done(run(&["work", split["join"].as_str().unwrap()]));
    assert_eq!(joined["frames"], 330);
    // It is the video of the job that was split.
    assert_eq!(done(work(folder.path(), &job))["already"], true);
    run(&["render", "speech.wav", "whole.mov", "--avatar", &own, "--fps", "30"]).succeeds();
    assert_eq!(frames(&folder.path().join("out.mov")), frames(&folder.path().join("whole.mov")));
    // Split again, it is known to be done.
    let split = last(&run(&["split", "job.json", "--parts", "2"]));
    assert_eq!(split["parts"], json!([]));
    assert_eq!(done(run(&["work", split["join"].as_str().unwrap()]))["already"], true);
    let part = run(&["split", parts[0].as_str().unwrap(), "--parts", "2"]);
    assert_eq!((part.code, &last(&part)["retry"]), (Some(3), &json!(false)), "{}", part.output);
    assert!(part.output.contains("only the job of a whole video"), "{}", part.output);
}
