// SPDX-License-Identifier: MPL-2.0
//! Real programs: `gst-launch-1.0` with the plugin as users have it, and `ffprobe` on what it writes.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::path::Path;
use std::process::Command;

use common::{copy_folder, fixture, plugin_folder};

/// What came of a launch.
struct Launched {
    success: bool,
    output: String,
}

/// Runs `gst-launch-1.0` with the plugin in `folder` and no variable of ours but those given.
fn launch(folder: &Path, variables: &[(&str, &str)], line: &str) -> Launched {
    let mut command = Command::new("timeout");
    command.args(["60", "gst-launch-1.0"]).args(line.split_whitespace());
    command.env("GST_PLUGIN_PATH", folder).env("GST_REGISTRY", folder.join("registry.bin"));
    command.env("LC_ALL", "C").env_remove("ORT_DYLIB_PATH").env_remove("LIPSYNC_AVATAR_PATH");
    command.envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Launched { success: output.status.success(), output: String::from_utf8_lossy(&text).into_owned() }
}

/// The launch line of the README from a sound to frames that nobody looks at.
fn line(sound: &str, avatar: &Path) -> String {
    let sound = fixture(&format!("audio/{sound}.wav"));
    format!(
        "filesrc location={} ! wavparse ! lipsync avatar={} ! fakesink",
        sound.display(),
        avatar.display()
    )
}

/// Checks that a launch fails with one message that holds all of `words`.
fn assert_refused(launched: &Launched, words: &[&str]) {
    let Launched { success, output } = launched;
    assert!(!success, "no failure: {output}");
    assert_eq!(output.matches("ERROR: from element").count(), 1, "{output}");
    assert!(!output.contains("panicked"), "{output}");
    for word in words {
        assert!(output.contains(word), "no \"{word}\" in: {output}");
    }
    println!("{}", output.lines().find(|line| line.starts_with("ERROR")).unwrap());
}

fn truncate(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn probe(file: &Path, entries: &str) -> String {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", "v", "-show_entries", entries, "-of", "csv=p=0"]);
    let output = command.arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().into()
}

#[test]
fn the_line_of_the_readme_makes_an_mp4_with_the_shipped_avatar() {
    let folder = plugin_folder(true);
    let out = folder.path().join("out.mp4");
    let launched = launch(
        folder.path(),
        &[],
        &format!(
            "filesrc location={} ! wavparse ! lipsync ! x264enc ! mp4mux ! filesink location={}",
            fixture("audio/speech.wav").display(),
            out.display()
        ),
    );
    assert!(launched.success, "{}", launched.output);
    let stream = probe(&out, "stream=codec_name,width,height,r_frame_rate,nb_frames");
    assert_eq!(stream, "h264,1280,720,25/1,83");
}

#[test]
fn inspection_shows_a_manual_page() {
    let folder = plugin_folder(false);
    let output = Command::new("gst-inspect-1.0")
        .arg("lipsync")
        .env("GST_PLUGIN_PATH", folder.path())
        .env("GST_REGISTRY", folder.path().join("registry.bin"))
        .env("ORT_DYLIB_PATH", "/nowhere")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    for word in [
        "Visualization",
        "avatar",
        "execution-provider",
        "device",
        "n-threads",
        "stats",
        "processing-latency",
    ] {
        assert!(text.contains(word), "no {word} in {text}");
    }
}

#[test]
fn folders_that_are_no_avatar_are_refused() {
    let folder = plugin_folder(true);
    let refused = |avatar: &Path, words: &[&str]| {
        assert_refused(&launch(folder.path(), &[], &line("speech", avatar)), words);
    };
    refused(Path::new("nobody"), &["nobody", "no avatar of that name", "LIPSYNC_AVATAR_PATH"]);
    refused(Path::new("/nowhere/at/all"), &["/nowhere/at/all", "no such folder"]);
    refused(folder.path(), &["holds no avatar", "avatar.toml"]);
}

#[test]
fn names_are_found_in_the_documented_places() {
    let folder = plugin_folder(true);
    let places = tempfile::tempdir().unwrap();
    let (own, data) = (places.path().join("own"), places.path().join("data"));
    copy_folder(&fixture("avatars/own_160"), &own.join("me"));
    copy_folder(&fixture("avatars/own_160"), &data.join("lipsync/avatars/me"));
    let (own, data) = (format!("/nowhere:{}", own.display()), data.display().to_string());
    let speak = |variables: &[(&str, &str)]| {
        let all = [&[("GST_DEBUG", "lipsync:4"), ("HOME", "/nowhere")], variables].concat();
        launch(folder.path(), &all, &line("one_sample", Path::new("me")))
    };
    for (name, value) in [("LIPSYNC_AVATAR_PATH", &own), ("XDG_DATA_HOME", &data), ("XDG_DATA_DIRS", &data)] {
        let launched = speak(&[(name, value)]);
        assert!(launched.success, "{name}: {}", launched.output);
    }
    // The variable comes before the data folders.
    let both = speak(&[("XDG_DATA_HOME", &data), ("LIPSYNC_AVATAR_PATH", &own)]);
    assert!(both.output.contains(&format!("{}/me", places.path().join("own").display())), "{}", both.output);
    assert_refused(&speak(&[]), &["no avatar of that name", "/nowhere/.local/share/lipsync/avatars"]);
}

#[test]
fn damaged_avatars_are_refused_by_the_name_of_the_file() {
    let folder = plugin_folder(true);
    let damaged = |layout: &str, damage: &dyn Fn(&Path), words: &[&str]| {
        let avatar = tempfile::tempdir().unwrap();
        copy_folder(&fixture(&format!("avatars/{layout}")), avatar.path());
        damage(avatar.path());
        assert_refused(&launch(folder.path(), &[], &line("speech", avatar.path())), words);
    };
    let manifest =
        |text: &'static str| move |avatar: &Path| std::fs::write(avatar.join("avatar.toml"), text).unwrap();
    damaged("own", &manifest("format = 1\ntitle = "), &["avatar.toml", "cannot be read"]);
    damaged("own", &manifest("format = 1\ncolour = 3\n"), &["avatar.toml", "colour"]);
    damaged("own", &|a| std::fs::remove_file(a.join("frames/2.png")).unwrap(), &["frames/2", "missing"]);
    damaged("own", &|a| truncate(&a.join("frames/2.png")), &["frames/2.png", "no readable picture"]);
    damaged(
        "own",
        &|a| std::fs::write(a.join("crops.csv"), "frame,x,y,width,height\n").unwrap(),
        &["crops.csv"],
    );
    damaged(
        "own",
        &|a| std::fs::remove_file(a.join("generator.onnx")).unwrap(),
        &["generator.onnx", "no such model"],
    );
    damaged("own", &|a| truncate(&a.join("generator.onnx")), &["generator.onnx", "is no ONNX file"]);
    damaged("synctalk", &|a| std::fs::write(a.join("landmarks/1.lms"), "1 2\n3 x\n").unwrap(), &["1.lms"]);
    damaged(
        "synctalk",
        &|a| std::fs::remove_file(a.join("landmarks/1.lms")).unwrap(),
        &["1.lms", "no such file"],
    );
    damaged(
        "digital_clone",
        &|a| std::fs::write(a.join("cache/crop_rectangles.json"), "{}").unwrap(),
        &["crop_rectangles.json", "no rectangle"],
    );
}

#[test]
fn models_that_do_not_fit_are_refused_with_their_shapes() {
    let folder = plugin_folder(true);
    let with_model = |file: &str, model: &str, words: &[&str]| {
        let avatar = tempfile::tempdir().unwrap();
        copy_folder(&fixture("avatars/own"), avatar.path());
        std::fs::copy(fixture(&format!("models/{model}.onnx")), avatar.path().join(file)).unwrap();
        assert_refused(&launch(folder.path(), &[], &line("speech", avatar.path())), words);
    };
    with_model(
        "generator.onnx",
        "generator_wrong_shape",
        &["generator.onnx", "[1, 4, 320, 320]", "[N, 6, S, S]"],
    );
    with_model("generator.onnx", "generator_wrong_type", &["generator.onnx", "Tensor<i64>"]);
    with_model("generator.onnx", "generator_one_input", &["generator.onnx", "no generator of a known kind"]);
    with_model("generator.onnx", "generator_nan", &["generator.onnx", "not numbers"]);
    with_model("audio_encoder.onnx", "encoder_wrong_shape", &["audio_encoder.onnx", "no audio encoder"]);
    // Fronts of the family that are not known, or do not go with each other.
    with_model(
        "generator.onnx",
        "generator_wenet",
        &["generator.onnx", "[1, 256, 16, 32]", "[N, 32, 32, 32]"],
    );
    with_model(
        "audio_encoder.onnx",
        "encoder_hubert",
        &["audio_encoder.onnx", "no audio encoder", "N, 1024]"],
    );
    with_model("generator.onnx", "generator_hubert", &["audio_encoder.onnx", "no HuBERT encoder"]);
}

#[test]
fn folders_whose_parts_do_not_go_together_are_refused() {
    let folder = plugin_folder(true);
    let changed = |name: &str, change: &dyn Fn(&Path), properties: &str, words: &[&str]| {
        let avatar = tempfile::tempdir().unwrap();
        copy_folder(&fixture(&format!("avatars/{name}")), avatar.path());
        change(avatar.path());
        let line = line("speech", avatar.path()).replace("! fakesink", &format!("{properties} ! fakesink"));
        assert_refused(&launch(folder.path(), &[], &line), words);
    };
    let in_manifest = |from: &'static str, to: &'static str| {
        move |avatar: &Path| {
            let path = avatar.join("avatar.toml");
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "no {from} in {text}");
            std::fs::write(path, text.replace(from, to)).unwrap();
        }
    };
    let copy = |from: &'static str, to: &'static str| {
        move |avatar: &Path| {
            std::fs::copy(avatar.join(from), avatar.join(to)).unwrap();
        }
    };
    let file = |from: &'static str, to: &'static str| {
        move |avatar: &Path| {
            std::fs::copy(fixture(from), avatar.join(to)).unwrap();
        }
    };
    let no_encoder = in_manifest("audio_encoder = \"audio_encoder.onnx\"\n", "");
    changed("own", &no_encoder, "", &["names no audio encoder", "models.audio_encoder"]);
    changed(
        "wav2lip",
        &|_| {},
        "context=tile",
        &["generator.onnx", "a window of the mel spectrogram", "\"tile\""],
    );
    changed(
        "synctalk_hubert",
        &file("models/encoder_hubert_wrong.onnx", "models/audio_encoder.onnx"),
        "",
        &["audio_encoder.onnx", "no HuBERT encoder", "768", "1024"],
    );
    changed(
        "own",
        &in_manifest("fps = 25", "fps = 25\nfirst_frame = 6"),
        "",
        &["first_frame is 6", "6 frames"],
    );
    changed("own_views", &in_manifest("masked = ", "# masked = "), "", &["faces and masked", "avatar.toml"]);
    changed("own_views", &|a| std::fs::remove_file(a.join("parsing/0.png")).unwrap(), "", &["parsing/0"]);
    changed(
        "synctalk_parsing",
        &file("avatars/own_160/frames/0.webp", "parsing/0.png"),
        "",
        &["parsing/0.png", "is 320 x 240, not 256 x 192"],
    );
    changed(
        "digital_clone",
        &copy("full_body_img/2.jpg", "rois_320/2.jpg"),
        "",
        &["rois_320/2.jpg", "is 480 x 360, not 320 x 320"],
    );
}

#[test]
fn a_runtime_that_cannot_be_used_is_named() {
    let folder = plugin_folder(false);
    let text = folder.path().join("text.so.1");
    std::fs::write(&text, "not a library").unwrap();
    // A library, but another one, and one that says it is too old.
    let source = folder.path().join("old.c");
    std::fs::write(&source, "struct base { const void *(*api)(unsigned); const char *(*version)(void); };\nstatic const void *api(unsigned v) { (void)v; return 0; }\nstatic const char *version(void) { return \"1.12.1\"; }\nstatic const struct base base = { api, version };\nconst struct base *OrtGetApiBase(void) { return &base; }\n").unwrap();
    let compile = |output: &Path, flags: &[&str]| {
        let mut command = Command::new("gcc");
        command.args(["-shared", "-fPIC", "-o"]).arg(output).args(flags);
        assert!(command.status().unwrap().success());
    };
    let (old, other) = (folder.path().join("old.so.1"), folder.path().join("other.so.1"));
    compile(&old, &[source.to_str().unwrap()]);
    compile(&other, &["-xc", "/dev/null"]);
    let avatar = fixture("avatars/own");
    let with = |library: &Path, words: &[&str]| {
        let library = library.to_str().unwrap();
        let launched = launch(folder.path(), &[("ORT_DYLIB_PATH", library)], &line("speech", &avatar));
        assert_refused(&launched, words);
    };
    with(Path::new("/nowhere/libonnxruntime.so"), &["/nowhere/libonnxruntime.so", "make runtime"]);
    with(&text, &["text.so.1", "make runtime"]);
    with(&other, &["other.so.1", "OrtGetApiBase"]);
    with(&old, &["old.so.1", "1.12.1"]);
    // None beside the plugin, none in the system.
    assert_refused(
        &launch(folder.path(), &[], &line("speech", &avatar)),
        &["libonnxruntime.so", "make runtime"],
    );
}

/// A launch with properties of the engine.
fn launch_on(variables: &[(&str, &str)], properties: &str) -> Launched {
    let folder = plugin_folder(true);
    let line =
        line("speech", &fixture("avatars/own")).replace("! fakesink", &format!("{properties} ! fakesink"));
    launch(folder.path(), variables, &line)
}

#[test]
fn providers_that_the_runtime_lacks_are_refused_with_those_it_has() {
    for (provider, name) in [
        ("cuda", "CUDAExecutionProvider"),
        ("tensorrt", "TensorrtExecutionProvider"),
        ("tensorrt-rtx", "NvTensorRTRTXExecutionProvider"),
        ("migraphx", "MIGraphXExecutionProvider"),
        ("rocm", "ROCMExecutionProvider"),
        ("openvino", "OpenVINOExecutionProvider"),
        ("directml", "DmlExecutionProvider"),
        ("coreml", "CoreMLExecutionProvider"),
        ("webgpu", "WebGpuExecutionProvider"),
        ("qnn", "QNNExecutionProvider"),
        ("nnapi", "NnapiExecutionProvider"),
        ("xnnpack", "XnnpackExecutionProvider"),
    ] {
        let launched = launch_on(&[], &format!("execution-provider={provider}"));
        assert_refused(&launched, &[name, "only execution-provider=cpu.", "ORT_DYLIB_PATH"]);
    }
}

#[test]
fn devices_that_are_none_are_refused() {
    for (properties, problem) in [
        ("device=0", "execution-provider=cpu device=\"0\" does not exist"),
        ("execution-provider=cuda device=GPU.0", "device=\"GPU.0\" is not a GPU number"),
        ("execution-provider=webgpu device=1", "execution-provider=webgpu device=\"1\" does not exist"),
    ] {
        assert_refused(&launch_on(&[], properties), &[problem, "empty"]);
    }
}

#[test]
fn a_precision_that_a_provider_has_not_is_refused() {
    assert_refused(&launch_on(&[], "precision=half"), &["execution-provider=cpu", "precision=auto"]);
    // Where it is possible, only the library is lacking.
    let launched = launch_on(&[], "execution-provider=tensorrt precision=half");
    assert_refused(&launched, &["TensorrtExecutionProvider"]);
}

/// The library of `make runtime-openvino`, where it was run.
fn openvino() -> Option<String> {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/onnxruntime-openvino/libonnxruntime.so");
    if !library.exists() {
        println!("not tested: {} is missing, which `make runtime-openvino` fetches", library.display());
        return None;
    }
    library.to_str().map(String::from)
}

#[test]
fn openvino_paints_as_the_cpu_does() {
    let Some(library) = openvino() else { return };
    let folder = plugin_folder(false);
    // A link to it, as an installation has it: what lies beside the library is found all the same.
    std::os::unix::fs::symlink(library, folder.path().join("libonnxruntime.so.1")).unwrap();
    let paint = |properties: &str| {
        let out = folder.path().join("out.rgb");
        let line = line("speech", Path::new("iris")).replace(
            "! fakesink",
            &format!("{properties} ! video/x-raw,format=RGB ! filesink location={}", out.display()),
        );
        let launched = launch(folder.path(), &[], &line);
        assert!(launched.success, "{}", launched.output);
        std::fs::read(out).unwrap()
    };
    let cpu = paint("execution-provider=cpu precision=fp32");
    assert_eq!(cpu.len(), 83 * 1280 * 720 * 3);
    let assert_alike = |properties: &str, least: f64| {
        let other = paint(properties);
        assert_eq!(cpu.len(), other.len());
        let squares = cpu.iter().zip(&other).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum::<u64>();
        let psnr = 10.0 * (255.0 * 255.0 * cpu.len() as f64 / squares as f64).log10();
        assert!(psnr >= least, "{properties}: {psnr:.1} dB");
    };
    assert_alike("execution-provider=openvino device=CPU", 90.0);
    // bfloat16, where the processor has it.
    assert_alike("execution-provider=openvino precision=half", 60.0);
}

#[test]
fn openvino_never_falls_back_in_silence() {
    let Some(library) = openvino() else { return };
    let refused = |properties: &str, words: &[&str]| {
        assert_refused(&launch_on(&[("ORT_DYLIB_PATH", &library)], properties), words);
    };
    refused("execution-provider=cuda", &["CUDAExecutionProvider", "execution-provider=cpu, openvino"]);
    // Devices that no machine has: of a known kind, and of none.
    refused("execution-provider=openvino device=GPU.99", &["device=\"GPU.99\" does not start"]);
    refused("execution-provider=openvino device=nonsense", &["nonsense", "can run no part of it"]);
}

#[test]
fn sounds_that_are_none_are_refused() {
    let folder = plugin_folder(true);
    let avatar = fixture("avatars/own");
    let refused = |sound: &str, words: &[&str]| {
        assert_refused(&launch(folder.path(), &[], &line(sound, &avatar)), words);
    };
    refused("empty", &["empty.wav", "without a single sample"]);
    refused("nan", &["nan.wav", "sample ", "not a finite number"]);
}

#[test]
fn what_a_truncated_file_still_holds_is_spoken() {
    let folder = plugin_folder(true);
    let out = folder.path().join("out.mkv");
    let line = line("truncated", &fixture("avatars/own"))
        .replace("fakesink", &format!("x264enc ! matroskamux ! filesink location={}", out.display()));
    let launched = launch(folder.path(), &[], &line);
    assert!(launched.success, "{}", launched.output);
    let mut command = Command::new("ffprobe");
    command.args([
        "-v",
        "error",
        "-count_frames",
        "-show_entries",
        "stream=nb_read_frames",
        "-of",
        "csv=p=0",
    ]);
    let frames = String::from_utf8(command.arg(&out).output().unwrap().stdout).unwrap();
    let samples = (std::fs::metadata(fixture("audio/truncated.wav")).unwrap().len() - 44) / 2;
    assert_eq!(frames.trim().trim_end_matches(',').parse::<u64>().unwrap(), (samples * 25).div_ceil(16_000));
}
