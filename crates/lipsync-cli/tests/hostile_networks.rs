// SPDX-License-Identifier: MPL-2.0
//! Networks of strangers: none reads files, ends the process, or takes memory or time without end. What would do so runs
//! in a process of its own here, too.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../../lipsync-core/tests/common/mod.rs"]
mod common;
#[path = "common/tool.rs"]
mod tool;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::fixture;
use lipsync_core::error::Error;
use lipsync_core::generator::Generator;
use lipsync_core::generator::face::FaceOptions;
use lipsync_core::inference::network::Network;
use lipsync_core::inference::prepare::{GraphParts, PreparedGraph, fuse_blocks};
use lipsync_core::inference::runtime::Engine;
use lipsync_core::onnx::Model;
use tempfile::TempDir;
use tool::{Ran, copy, ends, path, run, tool};

fn hostile(name: &str) -> PathBuf {
    fixture(&format!("hostile_networks/{name}.onnx"))
}

/// An avatar with one of its networks replaced.
fn avatar(name: &str, network: &str) -> TempDir {
    let avatar = copy("own_160");
    std::fs::copy(hostile(name), avatar.path().join(network)).unwrap();
    avatar
}

fn check(avatar: &TempDir) -> Ran {
    run(avatar.path(), &["check", path(avatar.path())])
}

/// What no network may have, and what is said of it.
const REFUSED: [(&str, &[&str]); 22] = [
    ("address", &["*/_ORT_MEM_ADDR_/*", "no file beside it"]),
    ("outside", &["../secret.bin", "no file beside it"]),
    ("absolute", &["/etc/passwd", "no file beside it"]),
    ("outside_in_a_branch", &["../../secret.bin", "no file beside it"]),
    ("sparse", &["sparse weight"]),
    ("short_weight", &["has 8 bytes, not the 72"]),
    ("negative_size", &["[-3, 6, 1, 1]", "cannot be"]),
    ("no_groups", &["(Conv)", "weights of the sizes [0, 6, 1, 1]"]),
    ("no_channels", &["(Conv)", "weights of the sizes [0, 6, 1, 1]"]),
    ("uneven_groups", &["(Conv)", "3 channels into 2 groups"]),
    ("no_stride", &["(Conv)", "strides = [0, 0]"]),
    ("grows", &["(ConstantOfShape)", "268435456"]),
    ("foreign", &["the domain \"lipsync\""]),
    ("unknown", &["(Run)", "the domain \"somebody.else\""]),
    ("context", &["(EPContext)", "reads files"]),
    ("function", &["a function of its own, \"Block\""]),
    ("deep", &["graphs within each other"]),
    ("batch_8000", &["8000 items at a time", "more than 64"]),
    ("no_side", &["\"input\"", "not above 0"]),
    ("huge", &["\"input\"", "more than"]),
    ("no_inputs", &["(Conv)", "weights of the sizes [32, 0, 1, 1]"]),
    ("beside", &["secret.bin", "no such file"]),
];

#[test]
fn what_no_network_may_have_is_refused_before_it_is_loaded() {
    // ONNX Runtime is not even looked for.
    let engine = Engine::default().with_library_dir(Some(Path::new("/nowhere")));
    for (name, words) in REFUSED {
        let file = hostile(name);
        let errors = [
            Model::read(&file).map(drop).unwrap_err(),
            Network::open(&file, &engine, 1).map(drop).unwrap_err(),
        ];
        for error in errors.map(|error| error.to_string()) {
            assert!(error.contains("hostile_networks/"), "{name}: {error}");
            words.iter().for_each(|word| assert!(error.contains(word), "{name}: no {word:?} in {error}"));
        }
    }
}

#[test]
fn both_networks_of_an_avatar_are_checked() {
    for network in ["audio_encoder.onnx", "generator.onnx"] {
        for name in ["address", "sparse", "no_groups"] {
            check(&avatar(name, network)).fails(&[network, "would not play; 1 problem"]);
        }
    }
    check(&avatar("plain", "generator.onnx")).succeeds();
}

#[test]
fn a_kernel_larger_than_what_it_is_given_is_told() {
    let said = check(&avatar("outgrown", "generator.onnx"));
    said.fails(&["generator.onnx: cannot be loaded", "a negative dimension", "would not play; 1 problem"]);
}

#[cfg(unix)]
#[test]
fn weights_behind_a_link_are_refused() {
    let avatar = avatar("beside", "generator.onnx");
    let file = avatar.path().join("secret.bin");
    std::fs::write(&file, [0; 72]).unwrap();
    check(&avatar).succeeds();
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&outside, [0; 72]).unwrap();
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&outside, &file).unwrap();
    check(&avatar).fails(&["secret.bin", "a link out of its folder"]);
}

#[test]
fn sizes_that_nobody_paints_are_refused() {
    check(&avatar("tiny", "generator.onnx")).fails(&["8 x 8 pixels", "16 to 2048 a side"]);
}

#[test]
fn a_bias_of_no_channels_is_an_error() {
    check(&avatar("no_bias", "generator.onnx")).fails(&["bias must be a 1D tensor"]);
}

/// 20,000 layers: where each looked for its weights among all, this would not end in time.
#[test]
fn networks_of_many_layers_are_read_in_time() {
    let model = Model::read(&hostile("many_layers")).unwrap();
    // With the one before them, and the sum behind.
    assert_eq!(model.quantizable_layers().len(), 20_000 + 2);
    check(&avatar("many_layers", "generator.onnx")).succeeds();
}

#[test]
fn a_network_that_never_ends_is_told_of() {
    check(&avatar("endless", "generator.onnx")).fails(&["generator.onnx: has not ended after", "1 problem"]);
}

/// The result of running an 8-bit model with the fused kernels.
fn try_blocks(name: &str) -> Result<(), Error> {
    let file = hostile(name);
    let graph = fuse_blocks(Model::read(&file)?).expect("there are blocks");
    let prepared = PreparedGraph::of(&file, GraphParts::Whole(graph));
    let mut generator = Generator::open_prepared(&prepared, FaceOptions::default(), &Engine::default(), 1)?;
    generator.try_out()
}

/// They abort the process where a kernel panics: a failure ends all tests of this file.
#[test]
fn shapes_that_the_fused_kernels_do_not_support_are_errors() {
    if !lipsync_core::kernels::are_supported() {
        eprintln!("there are no kernels for this processor: nothing is tested");
        return;
    }
    try_blocks("plain_blocks").unwrap();
    // A residual with broadcasting is left to ONNX Runtime.
    try_blocks("broadcast_residual").unwrap();
    for name in ["join_of_nothing", "too_wide", "two_pictures"] {
        let error = try_blocks(name).unwrap_err().to_string();
        assert!(error.contains("fused kernel: unsupported") && !error.contains("panic"), "{name}: {error}");
    }
}

/// A library that says to be a new ONNX Runtime, and does something else when it is used.
fn false_runtime(folder: &Path, does: &str) -> PathBuf {
    let (source, library) = (folder.join("false.c"), folder.join("libfalse.so"));
    let code = format!(
        "#include <signal.h>\n#include <stdlib.h>\n#include <unistd.h>\n\
         struct base {{ const void *(*api)(unsigned); const char *(*version)(void); }};\n\
         static const void *api(unsigned v) {{ (void)v; {does}; return 0; }}\n\
         static const char *version(void) {{ return \"1.99.0\"; }}\n\
         static const struct base base = {{ api, version }};\n\
         const struct base *OrtGetApiBase(void) {{ return &base; }}\n"
    );
    std::fs::write(&source, code).unwrap();
    let mut gcc = Command::new("gcc");
    gcc.args(["-shared", "-fPIC", "-o"]).args([&library, &source]);
    assert!(gcc.status().unwrap().success());
    library
}

#[test]
fn a_crash_of_onnx_runtime_is_a_sentence() {
    let avatar = copy("own_160");
    let with = |command: &str, does: &str| {
        let library = false_runtime(avatar.path(), does);
        let mut tool = tool(avatar.path());
        tool.env("ORT_DYLIB_PATH", library).args([command, path(avatar.path())]);
        if command == "import" {
            tool.args(["copy", "--into", path(avatar.path())]);
        }
        ends(tool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    };
    let crashes =
        [("*(volatile int *)8 = 1", "signal 11"), ("raise(SIGFPE)", "signal 8"), ("abort()", "signal 6")];
    for (does, words) in crashes {
        for command in ["check", "import"] {
            let said = with(command, does).fails(&[
                "generator.onnx: ends the process that runs it",
                words,
                "whom you trust",
            ]);
            assert_eq!(said.matches("ends the process").count(), 1, "{said}");
        }
    }
    with("check", "_exit(3)").fails(&["ends the process that runs it (exit status: 3)"]);
}

#[test]
fn what_is_tried_out_ends_with_who_asked() {
    let avatar = copy("own_160");
    let library = false_runtime(avatar.path(), "for (;;) pause()");
    let start = || {
        let mut tool = tool(avatar.path());
        tool.env("ORT_DYLIB_PATH", &library).args(["check", path(avatar.path())]);
        tool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children = |process: u32| {
        let file = format!("/proc/{process}/task/{process}/children");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.split_whitespace().map(|id| PathBuf::from(format!("/proc/{id}"))).collect::<Vec<_>>()
    };
    for signal in ["-INT", "-TERM", "-KILL"] {
        let process = start();
        let child = loop {
            match &children(process.id())[..] {
                [child] => break child.clone(),
                _ => std::thread::sleep(std::time::Duration::from_millis(20)),
            }
        };
        tool::kill(&process, signal);
        let ran = ends(process);
        if signal != "-KILL" {
            assert_eq!(ran.code, Some(130), "{}", ran.output);
            assert!(ran.output.contains("interrupted"), "{}", ran.output);
        }
        // It may be there for a moment, until its end has come to its knowledge.
        while child.exists() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

#[test]
fn nothing_is_tried_out_for_a_process_that_has_ended() {
    let avatar = copy("own_160");
    let library = false_runtime(avatar.path(), "for (;;) pause()");
    let mut tool = tool(avatar.path());
    // Process 1 stands in for one that ended: the test's process, which did not, is the parent.
    tool.env("ORT_DYLIB_PATH", library).args(["try-networks", "--parent", "1", path(avatar.path())]);
    let ran = ends(tool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    assert_eq!(ran.code, Some(1), "{}", ran.output);
}

#[test]
fn runtimes_that_are_not_safe_are_refused() {
    let avatar = copy("own_160");
    let source = |version: &str| {
        false_runtime(avatar.path(), "abort()");
        let file = avatar.path().join("false.c");
        let code = std::fs::read_to_string(&file).unwrap().replace("1.99.0", version);
        std::fs::write(&file, code).unwrap();
        let library = avatar.path().join(format!("lib{version}.so"));
        let mut gcc = Command::new("gcc");
        assert!(gcc.args(["-shared", "-fPIC", "-o"]).args([&library, &file]).status().unwrap().success());
        library
    };
    for version in ["1.20.1", "1.23.2", "1.24.0"] {
        let mut tool = tool(avatar.path());
        tool.env("ORT_DYLIB_PATH", source(version)).args(["check", path(avatar.path())]);
        let ran = ends(tool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        ran.fails(&[version, "older than 1.24.4", "make runtime", "1 problem"]);
    }
}

/// Not a test, but what [`a_file_is_written_whole_or_not_at_all`] starts.
#[test]
#[ignore = "it is started by another"]
fn writes_a_file() {
    let file = std::env::var_os("LIPSYNC_TEST_FILE").unwrap();
    let error = lipsync_core::file::replace(Path::new(&file), &[1; 1 << 20]).unwrap_err();
    println!("{error}");
}

#[test]
fn a_file_is_written_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("generator.int8.onnx");
    let names = || std::fs::read_dir(folder.path()).unwrap().count();
    // No file may become larger than 64 KiB: to the program it is as if the disk were full.
    let fails = || {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "trap '' XFSZ; ulimit -f 128; exec \"$0\" --exact writes_a_file --ignored --nocapture",
        ]);
        let output = command.arg(std::env::current_exe().unwrap()).env("LIPSYNC_TEST_FILE", &file).output();
        let said = String::from_utf8(output.unwrap().stdout).unwrap();
        assert!(
            said.contains("generator.int8.onnx: cannot be written: ") && said.contains("Make room"),
            "{said}"
        );
    };
    fails();
    assert_eq!(names(), 0);
    lipsync_core::file::replace(&file, b"old").unwrap();
    fails();
    assert_eq!((std::fs::read(&file).unwrap(), names()), (b"old".to_vec(), 1));
    lipsync_core::file::replace(&file, b"new").unwrap();
    assert_eq!((std::fs::read(&file).unwrap(), names()), (b"new".to_vec(), 1));
}

/// Graphs are prepared in memory: no disk needs to have room.
#[test]
fn no_temporary_file_is_needed() {
    let avatar = copy("own_160");
    let mut tool = tool(avatar.path());
    tool.env("TMPDIR", "/dev/full").env("XDG_CACHE_HOME", "/dev/full").args(["check", path(avatar.path())]);
    ends(tool.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()).succeeds();
}
