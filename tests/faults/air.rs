// SPDX-License-Identifier: MPL-2.0
//! The presenter on air: how it is played on, looked at and given another avatar.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gst::prelude::*;

use crate::checker::Checker;
use crate::common::fixture;
use crate::common::harm::{Victim, threads};
use crate::common::stress::Random;
use crate::common::studio::{FRAME, SECOND, Studio};
use crate::fault::{Fault, Harm};
use crate::library::Library;

const MONO_16K: &str = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";
const PROPERTIES: &str = "cache-size=0 n-threads=1 lookahead=92500000";

/// A presenter, those that it may become, and what is wrong at the moment.
pub struct Air {
    pub studio: Studio,
    pub random: Random,
    pub checker: Checker,
    /// Two of the same size, which may come to harm while they play.
    pub good: [Victim; 2],
    /// Of the same size, too: they are taken, and fail.
    pub failing: Vec<Victim>,
    pub refused: Vec<String>,
    _refused: Vec<Victim>,
    pub library: Library,
    /// Which of the good ones plays, if one does.
    pub plays: Option<usize>,
    pub harm: Vec<(Fault, u64, Harm)>,
    pub leaps: u64,
    pub counts: BTreeMap<Fault, u64>,
    pub warnings: BTreeMap<String, u64>,
    pub said: Vec<i16>,
}

impl Air {
    pub fn new(seed: u64) -> Self {
        let library = Library::new();
        let victim = || Victim::new("own_160");
        let good = [victim(), victim()];
        let later = victim();
        later.truncate("frames/2.webp");
        let failing = vec![
            later,
            Victim::with_model("own_160", "generator.onnx", "generator_160_nan_in_speech"),
            Victim::with_model("own_160", "audio_encoder.onnx", "encoder_fails_when_loud"),
        ];
        let broken: Vec<Victim> = (0..6).map(|_| victim()).collect();
        broken[0].truncate("frames/0.webp");
        broken[1].truncate("generator.onnx");
        broken[2].overwrite("avatar.toml", b"format = ");
        std::fs::remove_file(broken[3].file("audio_encoder.onnx")).unwrap();
        broken[4].overwrite("crops.csv", b"frame,x,y,width,height\n0,1,2,3000,3000\n");
        std::fs::copy(fixture("models/generator_nan.onnx"), broken[5].file("generator.onnx")).unwrap();
        let mut refused: Vec<String> = broken.iter().map(Victim::name).collect();
        refused.extend(["nobody".into(), fixture("avatars/own").to_str().unwrap().into()]);
        let studio = Studio::new(&format!("{PROPERTIES} avatar={}", good[0].name()), MONO_16K);
        let filter = studio.pipeline.by_name("filter").unwrap();
        let caps = "video/x-raw,format=RGB,width=320,height=240";
        filter.set_property("caps", caps.parse::<gst::Caps>().unwrap());
        let mut reader = hound::WavReader::open(fixture("audio/speech.wav")).unwrap();
        Self {
            studio,
            random: Random::new(seed),
            checker: Checker::default(),
            good,
            failing,
            refused,
            _refused: broken,
            library,
            plays: Some(0),
            harm: Vec::new(),
            leaps: 0,
            counts: BTreeMap::new(),
            warnings: BTreeMap::new(),
            said: reader.samples::<i16>().map(Result::unwrap).collect(),
        }
    }

    pub fn count(&self, name: &str) -> u64 {
        self.studio.element.property::<gst::Structure>("stats").get(name).unwrap()
    }

    /// Looks at what has come out and what has been said.
    pub fn look(&mut self) {
        let (video, audio) = self.studio.take();
        self.checker.check(&video, &audio);
        for message in self.studio.messages() {
            match message.view() {
                gst::MessageView::Error(error) => panic!("{} ({:?})", error.error(), error.debug()),
                gst::MessageView::Eos(_) => panic!("the end of the stream"),
                gst::MessageView::Warning(warning) => {
                    let text = warning.error().to_string();
                    let kind = ["cannot take over", "cannot be painted", "cannot be heard", "come late"]
                        .into_iter()
                        .find(|kind| text.contains(kind));
                    *self.warnings.entry(kind.unwrap_or(&text).into()).or_default() += 1;
                }
                _ => {}
            }
        }
        self.studio.forget_messages();
    }

    pub fn play_until(&mut self, time: u64) {
        while self.studio.now < time {
            self.studio.run_until(time.min(self.studio.now + SECOND));
            self.look();
        }
    }

    pub fn suffers(&self, fault: Fault) -> bool {
        self.harm.iter().any(|(other, ..)| *other == fault)
    }

    /// Plays on until no avatar is being loaded any more.
    pub fn settle(&mut self) {
        let start = Instant::now();
        // Without descriptors nobody can look.
        while !self.suffers(Fault::Descriptors) && threads().iter().any(|name| name == "lipsync-load") {
            assert!(start.elapsed() < Duration::from_secs(60), "it loads for ever");
            self.play_until(self.studio.now + FRAME);
            std::thread::sleep(Duration::from_millis(2));
        }
        self.play_until(self.studio.now + 3 * FRAME);
    }

    pub fn set_avatar(&mut self, name: &str) {
        self.studio.element.set_property("avatar", name);
        self.settle();
    }
}
