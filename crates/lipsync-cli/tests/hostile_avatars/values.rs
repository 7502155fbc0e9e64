// SPDX-License-Identifier: MPL-2.0
//! Numbers in manifests and data sets, and the bounds that the manual states.

use lipsync_core::limits;

use super::place::{Place, assert_refused, plain_manifest, problems, replace, write};

#[test]
fn numbers_out_of_bounds_are_refused_with_key_value_and_bound() {
    let place = Place::new();
    let folder = place.plain("numbers", (64, 48), [4, 4, 40, 40]);
    let refused = |from: &str, to: &str, words: &[&str]| {
        write(&folder, "avatar.toml", &plain_manifest([4, 4, 40, 40]));
        replace(&folder, from, to);
        assert_refused(&folder, words);
    };
    for border in [60_000, u32::MAX, limits::BORDER + 1] {
        let told = format!("avatar.toml: border is {border}, not 0 to {}. ", limits::BORDER);
        refused("onnx\"\n", &format!("onnx\"\n[face]\nborder = {border}\n"), &[&told]);
    }
    for fps in [0, 4_294_967_295, u64::from(limits::FPS) + 1] {
        refused(
            "fps = 25",
            &format!("fps = {fps}"),
            &[&format!("avatar.toml: fps is {fps}, not 1 to 240. ")],
        );
    }
    for fps in ["-25", "25.5", "4294967296", "1e9", "nan"] {
        refused("fps = 25", &format!("fps = {fps}"), &["avatar.toml: cannot be read in line 4: "]);
    }
    refused("\"T\"", &format!("\"{}\"", "x".repeat(201)), &["title has 201 characters, more than 200"]);
    refused("fps = 25", "fps = 25\nfirst_frame = 18446744073709551615", &["avatar.toml: "]);
    refused(
        "fps = 25",
        "fps = 25\nfirst_frame = 9223372036854775807",
        &["first_frame is 9223372036854775807"],
    );
    refused("fps = 25", &format!("fps = 25\n{} = 1", "x".repeat(100_000)), &["unknown field", "…"]);
    refused("\"L\"", &format!("\"{}\"", "x".repeat(1 << 20)), &["has 1048", "more than the 1048576"]);
    refused("fps = 25", &format!("fps = {}", "[".repeat(100_000)), &["avatar.toml: cannot be read"]);
    for crop in [[i64::MAX, 4, 40, 40], [4, 4, i64::MIN, 40], [4, -1, 40, 40], [4, 4, 0, 40]] {
        write(&folder, "avatar.toml", &plain_manifest(crop));
        let problems = problems(&folder);
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].contains("starts outside the 64 x 48 frame or is empty"), "{problems:?}");
    }
    write(&folder, "avatar.toml", &plain_manifest([4, 4, i64::MAX, i64::MAX]));
    assert_eq!(problems(&folder), [""; 0]);
}

#[test]
fn faces_of_data_sets_may_be_of_any_numbers() {
    let place = Place::new();
    let folder = place.set("synctalk", "set");
    for line in ["inf -inf", "-inf inf", "nan 1e38", "-1e38 3", ""] {
        write(&folder, "landmarks/1.lms", &format!("{line}\n").repeat(110));
        assert!(
            problems(&folder).iter().any(|told| told.contains("1.jpg") || told.contains("1.lms")),
            "{line}"
        );
    }
    let mut lines = vec!["-inf 3"; 110];
    lines[31] = "inf 3";
    write(&folder, "landmarks/1.lms", &lines.join("\n"));
    assert!(problems(&folder).iter().any(|told| told.contains("1.jpg: its face rectangle")));
    write(&folder, "landmarks/1.lms", &"1 2\n".repeat(20_000));
    assert!(problems(&folder).iter().any(|told| told.contains("has 80000 bytes, more than the 65536")));

    let folder = place.set("digital_clone", "package");
    let rect = "[-9223372036854775808, 0, 9223372036854775807, 9223372036854775807]";
    let rectangles: Vec<_> = (0..9).map(|n| format!("\"{n}\": {{\"rect\": {rect}}}")).collect();
    write(&folder, "cache/crop_rectangles.json", &format!("{{{}}}", rectangles.join(",")));
    assert!(problems(&folder).iter().any(|told| told.contains("its face rectangle, 9223372036854775807 x ")));
    for text in ["", "{", "[]", "{\"0\": 1}", "{\"18446744073709551616\": {\"rect\": [0,0,0,0]}}"] {
        write(&folder, "cache/crop_rectangles.json", text);
        let problems = problems(&folder);
        assert!(problems[0].contains("crop_rectangles.json: cannot be read: "), "{problems:?}");
    }
    write(&folder, "cache/crop_rectangles.json", &"[".repeat(1 << 20));
    assert!(problems(&folder)[0].contains("crop_rectangles.json: cannot be read: "));
}

#[test]
fn the_manual_states_the_bounds() {
    let manual = include_str!("../../../../models/README.md");
    let (_, table) = manual.split_once("\n## Bounds\n").expect("a section \"Bounds\"");
    let rows: Vec<(&str, &str)> = table
        .lines()
        .skip_while(|line| !line.starts_with("|---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            (cells[3].trim_matches('`'), cells[2])
        })
        .collect();
    let told = |name: &str| rows.iter().find(|row| row.0 == name).map(|row| row.1);
    let number = |text: &str| {
        let (digits, unit) = text.split_once(' ').unwrap_or((text, ""));
        let number: u64 = digits.replace(',', "").parse().expect(text);
        number
            << match unit {
                "KiB" => 10,
                "MiB" => 20,
                "GiB" => 30,
                _ => 0,
            }
    };
    // Each constant is told, and nothing else is.
    let source = include_str!("../../../lipsync-core/src/limits.rs");
    let constants = source.lines().filter_map(|line| {
        let public = line.strip_prefix("pub const ").or_else(|| line.strip_prefix("pub(crate) const "))?;
        public.split_once(": ")
    });
    let mut count = 0;
    for (name, rest) in constants {
        let (_, value) = rest.split_once(" = ").unwrap();
        let value = value.trim_end_matches(';');
        let value = match value.split_once(" << ") {
            Some((value, bits)) => number(value) << number(bits),
            None if value.starts_with("i32::MAX") => i32::MAX as u64,
            None => number(&value.replace('_', "")),
        };
        let row = told(name).unwrap_or_else(|| panic!("models/README.md does not tell of {name}"));
        assert_eq!(number(row), value, "{name} is told as {row}");
        count += 1;
    }
    assert_eq!(count, rows.len(), "models/README.md tells of bounds that are none");
}
