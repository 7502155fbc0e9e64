// SPDX-License-Identifier: MPL-2.0
//! Clips in manifests, as they are to be and as they are not.

use lipsync_core::Avatar;

use super::place::{Place, assert_refused, plain_manifest, problems, save, write};

const CROP: [i64; 4] = [4, 4, 40, 40];

/// A manifest with the keys of a clip "nod".
fn manifest(keys: &str) -> String {
    format!("{}[clips.nod]\n{keys}\n", plain_manifest(CROP))
}

#[test]
fn clips_that_cannot_be_played_are_refused_by_name() {
    let place = Place::new();
    let folder = place.plain("clips", (64, 48), CROP);
    std::fs::create_dir(folder.join("empty")).unwrap();
    std::fs::create_dir(folder.join("other")).unwrap();
    save(&folder, "other/0.png", (32, 48));
    std::fs::create_dir(folder.join("one")).unwrap();
    save(&folder, "one/0.png", (64, 48));
    for (keys, words) in [
        ("range = [1, 3]", "clip \"nod\" has the range 1 to 3, and the avatar has frames 0 to 2. "),
        ("range = [2, 1]", "clip \"nod\" has the range 2 to 1"),
        ("range = [0, 9223372036854775807]", "clip \"nod\" has the range 0 to 9223372036854775807"),
        ("range = [-1, 1]", "avatar.toml: cannot be read in line 10"),
        ("", "clip \"nod\" must have either range or frames. models/README.md"),
        ("range = [0, 1]\nframes = \"frames\"", "clip \"nod\" must have either range or frames"),
        ("range = [0, 1]\ncrops = \"c.csv\"", "clip \"nod\" has crops, which frames of a range have already"),
        ("range = [0, 1]\nuse = \"listening\"", "clip \"nod\" is played once, so that it can be a gesture"),
        ("range = [0, 1]\nuse = \"dance\"", "unknown variant `dance`"),
        ("range = [0, 1]\nloop = true", "unknown field `loop`"),
        ("frames = \"../clips\"\ncrop = [1, 1, 9, 9]", "frames is \"../clips\", which is no path inside"),
        ("frames = \"nowhere\"\ncrop = [1, 1, 9, 9]", "nowhere: no such file"),
        ("frames = \"empty\"\ncrop = [1, 1, 9, 9]", "empty: has no frame 0"),
        ("frames = \"frames\"", "must have either crop or crops"),
        ("frames = \"one\"\ncrop = [64, 1, 9, 9]", "starts outside the 64 x 48 frame"),
        ("frames = \"other\"\ncrop = [1, 1, 9, 9]", "is 32 x 48, not 64 x 48 as the first frame"),
        (
            "frames = \"frames\"\ncrop = [1, 1, 9, 9]\nalpha = \"frames\"",
            "has masks, and the avatar's frames have none",
        ),
    ] {
        write(&folder, "avatar.toml", &manifest(keys));
        assert_refused(&folder, &[words]);
    }
    for (name, words) in [
        ("\"\"", "must have a name of letters"),
        ("\"a b\"", "clip \"a b\" must have a name"),
        ("\"\\u001b[31m\"", "must have a name"),
        (&"x".repeat(61), "must have a name"),
    ] {
        write(&folder, "avatar.toml", &manifest("range = [0, 1]").replace("nod", name));
        assert_refused(&folder, &[words]);
    }
    let many: String = (0..101).map(|n| format!("[clips.c{n}]\nrange = [0, 1]\n")).collect();
    write(&folder, "avatar.toml", &format!("{}{many}", plain_manifest(CROP)));
    assert_refused(&folder, &["has 101 clips, more than 100"]);
}

#[test]
fn clips_of_frames_of_their_own_are_added_behind_the_others() {
    let place = Place::new();
    let folder = place.plain("clips", (64, 48), CROP);
    std::fs::create_dir(folder.join("nod")).unwrap();
    (0..2).for_each(|n| save(&folder, &format!("nod/{n}.png"), (64, 48)));
    let idle = "[clips.idle]\nrange = [1, 2]\n[clips.brows]\nrange = [0, 0]\n";
    write(
        &folder,
        "avatar.toml",
        &(manifest("frames = \"nod\"\ncrop = [1, 2, 20, 20]\nmouth = \"own\"") + idle),
    );
    assert_eq!(problems(&folder), [""; 0]);
    let avatar = Avatar::open(&folder).unwrap();
    let clips: Vec<_> = avatar.clips.iter().map(|clip| (clip.name.as_str(), clip.frames.clone())).collect();
    assert_eq!(clips, [("idle", 1..3), ("brows", 0..1), ("nod", 3..5)]);
    assert_eq!((avatar.frames[4].face.x, avatar.frames.len()), (1, 5));
}

#[test]
fn a_data_set_is_given_clips_by_a_file_beside_it() {
    let place = Place::new();
    let folder = place.set("synctalk", "set");
    write(&folder, "clips.toml", "[clips.nod]\nrange = [1, 2]\n");
    let survey = |folder| {
        let mut problems = lipsync_core::avatar::Problems::default();
        let avatar = Avatar::survey(folder, &mut problems).unwrap();
        let problems: Vec<String> = problems.all().iter().map(ToString::to_string).collect();
        (avatar, problems)
    };
    let (avatar, _) = survey(&folder);
    assert_eq!(avatar.clips.len(), 2);
    assert_eq!(avatar.clip("nod").unwrap().frames, 1..3);
    write(&folder, "clips.toml", "[clips.nod]\nframes = \"/etc\"\ncrop = [1, 1, 9, 9]\n");
    let (avatar, problems) = survey(&folder);
    assert_eq!(avatar.clips.len(), 1);
    assert!(problems.iter().any(|told| told.contains("clips.toml: frames is \"/etc\"")), "{problems:?}");
}
