// SPDX-License-Identifier: MPL-2.0
//! Pipelines that read a video or audio file with GStreamer.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, bail};
use gst::prelude::*;

use crate::interrupt;

/// Name of the message that says that a stream had ended before it was linked.
const MISSED: &str = "lipsync-stream-missed";
/// Times that a file is read again after its only stream was missed: it happens once in fifty times on a busy
/// machine.
const RETRIES: u32 = 20;
/// Kinds of elements that open what a file names: the pieces of a playlist, the streams of a session description, the clips
/// of a timeline.
const REACHES_OUT: [&str; 3] = ["Adaptive", "Network", "Editing"];

/// An error that is a file's own: it would be the same at any time, on any machine.
#[derive(Debug)]
pub struct InputError(String);

impl InputError {
    /// The problem of a file, and what to do.
    pub fn of(file: &Path, problem: &str, remedy: &str) -> Self {
        Self(format!("{}: {problem}. {remedy}", file.display()))
    }
}

impl std::fmt::Display for InputError {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InputError {}

/// A pipeline that reads a file. It is stopped on drop, so that no thread goes on reading or writing.
pub struct Reader {
    pipeline: gst::Pipeline,
    file: PathBuf,
    remedy: &'static str,
    /// What the element `sink` writes, for its errors.
    output: Option<PathBuf>,
    /// Formats for which GStreamer has reported a missing decoder.
    missing: Vec<String>,
    /// Streams that are read.
    streams: usize,
    retries: u32,
}

impl Reader {
    /// Creates a pipeline in which a `uridecodebin` named `source` reads `file`; every error about the file
    /// ends with `remedy`.
    pub fn open(line: &str, file: &Path, remedy: &'static str) -> Result<Self> {
        check_file(file, remedy)?;
        gst::init().context("GStreamer cannot be started")?;
        let pipeline = gst::parse::launch(line).context(
            "GStreamer lacks an element. Install gstreamer1.0-plugins-base and gstreamer1.0-plugins-good",
        )?;
        let pipeline =
            pipeline.downcast::<gst::Pipeline>().map_err(|_| anyhow::anyhow!("the pipeline is none"))?;
        let reader = Self {
            pipeline,
            file: file.into(),
            remedy,
            output: None,
            missing: Vec::new(),
            streams: 0,
            retries: 0,
        };
        let uri = gst::glib::filename_to_uri(std::path::absolute(file)?, None)?;
        let source = reader.element("source")?;
        source.set_property("uri", uri.as_str());
        keep_to_file(&source)?;
        Ok(reader)
    }

    pub fn element(&self, name: &str) -> Result<gst::Element> {
        self.pipeline.by_name(name).with_context(|| format!("the pipeline has no {name}"))
    }

    pub fn sink(&self, name: &str) -> Result<gst_app::AppSink> {
        self.element(name)?.downcast().map_err(|_| anyhow::anyhow!("{name} is no appsink"))
    }

    /// Has the element `sink` write to `location`, which is `output` to the user.
    pub fn write_to(&mut self, location: &Path, output: &Path) -> Result<()> {
        self.element("sink")?.set_property("location", location);
        self.output = Some(output.into());
        Ok(())
    }

    /// Collects the bytes of the raw audio that arrives at an appsink.
    pub fn collect_sound(&self, name: &str) -> Result<AudioBytes> {
        let sound = AudioBytes::default();
        let collected = sound.clone();
        let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let buffer = sample.buffer().ok_or(gst::FlowError::Error)?;
            let bytes = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
            collected.lock().extend_from_slice(&bytes);
            Ok(gst::FlowSuccess::Ok)
        });
        self.sink(name)?.set_callbacks(callbacks.build());
        Ok(sound)
    }

    /// Links the source's first stream of each kind (`video`, `audio`) to its element; posts an error where
    /// one of them is missing.
    pub fn link(&mut self, wanted: &[(&'static str, gst::Element)]) -> Result<()> {
        self.streams = wanted.len();
        let source = self.element("source")?;
        let branches = wanted.to_vec();
        source.connect_pad_added(move |source, pad| {
            let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
            let kind = caps.structure(0).map(|structure| structure.name().to_string()).unwrap_or_default();
            for (prefix, branch) in &branches {
                let sink =
                    branch.static_pad("sink").filter(|sink| kind.starts_with(prefix) && !sink.is_linked());
                // Where linking fails, the source posts a not-linked error.
                let linked = sink.is_some_and(|sink| pad.link(&sink).is_ok());
                // decodebin (1.22) may start a parser with a source pad of its own, as aiffparse, before it
                // exposes that pad: a short file is over by then, and nothing more comes.
                if linked && pad.sticky_event::<gst::event::Eos>(0).is_some() {
                    let missed = gst::message::Application::builder(gst::Structure::new_empty(MISSED));
                    let _ = source.post_message(missed.src(source).build());
                }
            }
        });
        let branches = wanted.to_vec();
        source.connect_no_more_pads(move |source| {
            for (kind, branch) in &branches {
                if branch.static_pad("sink").is_some_and(|sink| !sink.is_linked()) {
                    let what = if *kind == "audio" { "sound" } else { "picture" };
                    gst::element_error!(source, gst::StreamError::WrongType, ("holds no {what}"));
                }
            }
        });
        Ok(())
    }

    pub fn start(&self) {
        // A failure is posted on the bus, with details.
        let _ = self.pipeline.set_state(gst::State::Playing);
    }

    /// Waits up to 100 ms for the end; true when it has come.
    ///
    /// # Errors
    /// Where the file cannot be read, and on an interrupt.
    pub fn has_ended(&mut self) -> Result<bool> {
        interrupt::check()?;
        let bus = self.pipeline.bus().context("the pipeline has no bus")?;
        let kinds = [
            gst::MessageType::Eos,
            gst::MessageType::Error,
            gst::MessageType::Element,
            gst::MessageType::Application,
        ];
        let message = bus.timed_pop_filtered(gst::ClockTime::from_mseconds(100), &kinds);
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Eos(_)) => Ok(true),
            Some(gst::MessageView::Error(error)) => Err(self.failure(error)),
            Some(gst::MessageView::Application(message))
                if message.structure().is_some_and(|s| s.name() == MISSED) =>
            {
                self.read_again()?;
                Ok(false)
            }
            Some(gst::MessageView::Element(message)) => {
                let missing = message.structure().filter(|structure| structure.name() == "missing-plugin");
                self.missing.extend(missing.and_then(|missing| missing.get::<String>("name").ok()));
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    /// Starts from the beginning after the only stream was missed, so that nothing of it was delivered.
    fn read_again(&mut self) -> Result<()> {
        self.retries += 1;
        if self.streams != 1 || self.retries > RETRIES {
            bail!("{}: was over before it could be decoded; try again", self.file.display());
        }
        let _ = self.pipeline.set_state(gst::State::Null);
        self.start();
        Ok(())
    }

    /// Length of the file, as far as it is known.
    pub fn duration(&self) -> Option<gst::ClockTime> {
        self.pipeline.query_duration()
    }

    /// An error about the file.
    pub fn file_error(&self, problem: &str) -> anyhow::Error {
        InputError::of(&self.file, problem, self.remedy).into()
    }

    fn failure(&self, message: &gst::message::Error) -> anyhow::Error {
        let error = message.error();
        let of_source = self.element("source").is_ok_and(|source| {
            message.src().is_some_and(|from| from == &source || from.has_as_ancestor(&source))
        });
        let of_sink = message.src().is_some_and(|from| from.name() == "sink");
        if let Some(output) = self.output.as_deref().filter(|_| of_sink) {
            let problem = error.message().trim_end_matches('.');
            return anyhow::anyhow!(
                "{}: cannot be written: {problem}. Make room, or choose another place",
                output.display()
            );
        }
        if !of_source {
            // The elements of lipsync say what is wrong, and the remedy.
            return anyhow::anyhow!("{}", error.message().trim_end_matches('.'));
        }
        // The file was demuxed, but no stream of the wanted kind can be decoded.
        let nothing = error.matches(gst::CoreError::MissingPlugin);
        match self.missing.as_slice() {
            [] if nothing => self.file_error("holds no sound"),
            // It could be opened: what fails later is the disk, or the network to it.
            [] if error.matches(gst::ResourceError::Read) => {
                anyhow::anyhow!("{}: cannot be read to its end: {}", self.file.display(), error.message())
            }
            [] if error.matches(gst::StreamError::WrongType) => self.file_error(error.message()),
            [] => self.file_error(&format!("cannot be read: {}", error.message().trim_end_matches('.'))),
            missing => anyhow::anyhow!(
                "{}: cannot be read: GStreamer lacks a {} (install gstreamer1.0-libav, or the package that has it). {}",
                self.file.display(),
                missing.join(" and a "),
                self.remedy
            ),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Has a `uridecodebin` open nothing but its file, which may be a stranger's.
fn keep_to_file(source: &gst::Element) -> Result<()> {
    let choices = gst::glib::Type::from_name("GstAutoplugSelectResult")
        .and_then(gst::glib::EnumClass::with_type)
        .context("uridecodebin is another than that of GStreamer")?;
    source.connect("autoplug-select", false, move |values| {
        let factory = values[3].get::<gst::ElementFactory>().ok();
        let kind = factory.as_ref().and_then(|factory| factory.metadata("klass")).unwrap_or_default();
        let reaches_out = REACHES_OUT.iter().any(|other| kind.contains(other));
        if let Some(source) = values[0].get::<gst::Element>().ok().filter(|_| reaches_out) {
            gst::element_error!(
                source,
                gst::StreamError::WrongType,
                ("only names other files, which are not opened")
            );
        }
        choices.to_value_by_nick(if reaches_out { "skip" } else { "try" })
    });
    Ok(())
}

/// Raw audio, as it is collected.
#[derive(Clone, Default)]
pub struct AudioBytes(Arc<Mutex<Vec<u8>>>);

impl AudioBytes {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        lipsync_core::sync::lock(&self.0)
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Takes out what was collected so far.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.lock())
    }
}

/// Regular files only: opening a pipe would block until there is a writer, and could not be interrupted.
pub fn check_file(file: &Path, remedy: &str) -> Result<()> {
    let unreadable = || format!("{}: cannot be read. {remedy}", file.display());
    let problem = match std::fs::metadata(file) {
        Ok(data) if data.is_dir() => "is a folder",
        Ok(data) if !data.is_file() => "is no regular file",
        Ok(data) if data.len() == 0 => "is empty",
        Ok(_) => return std::fs::File::open(file).map(drop).with_context(unreadable),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "no such file",
        Err(error) => return Err(error).with_context(unreadable),
    };
    Err(InputError::of(file, problem, remedy).into())
}
