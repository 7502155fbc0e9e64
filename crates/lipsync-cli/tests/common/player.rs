// SPDX-License-Identifier: MPL-2.0
//! A WebRTC player: webrtcbin, which counts what it receives.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use gst::glib;
use gst::prelude::*;
use gst_sdp::SDPMessage;
use gst_webrtc::{
    WebRTCICEGatheringState, WebRTCRTPTransceiver, WebRTCRTPTransceiverDirection, WebRTCSDPType,
    WebRTCSessionDescription,
};

use super::server::PATIENCE;

/// A player. It stops when it is dropped.
pub struct Player {
    pipeline: gst::Pipeline,
    webrtc: gst::Element,
    received: Arc<Received>,
}

/// What was decoded.
#[derive(Default)]
struct Received {
    pictures: AtomicU64,
    width: AtomicU64,
    /// Samples that are not silent.
    loud: AtomicU64,
    sounds: AtomicU64,
}

impl Player {
    pub fn new() -> Self {
        gst::init().unwrap();
        let pipeline = gst::Pipeline::new();
        let webrtc = gst::ElementFactory::make("webrtcbin")
            .property_from_str("bundle-policy", "max-bundle")
            .property("latency", 50_u32)
            .build()
            .unwrap();
        // It warns where several programs ask for UPnP at the same time.
        let ice = webrtc.property::<glib::Object>("ice-agent");
        ice.property::<glib::Object>("agent").set_property("upnp", false);
        pipeline.add(&webrtc).unwrap();
        let received = Arc::<Received>::default();
        let (counts, weak) = (received.clone(), pipeline.downgrade());
        webrtc.connect_pad_added(move |_, pad| {
            if let Some(pipeline) = weak.upgrade().filter(|_| pad.direction() == gst::PadDirection::Src) {
                decode(&pipeline, pad, &counts);
            }
        });
        Self { pipeline, webrtc, received }
    }

    /// Offers to receive picture and sound; returns the offer with all candidates.
    pub fn offer(&self) -> String {
        let caps = [
            "application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload=102,packetization-mode=(string)1,\
             profile-level-id=(string)42e01f",
            "application/x-rtp,media=audio,encoding-name=OPUS,clock-rate=48000,encoding-params=(string)2,payload=111",
        ];
        for caps in caps {
            let caps: gst::Caps = caps.parse().unwrap();
            let direction = WebRTCRTPTransceiverDirection::Recvonly;
            self.webrtc.emit_by_name::<WebRTCRTPTransceiver>("add-transceiver", &[&direction, &caps]);
        }
        self.pipeline.set_state(gst::State::Playing).unwrap();
        self.create("offer")
    }

    /// Takes the answer to [`Self::offer`].
    pub fn accept(&self, answer: &str) {
        self.describe("set-remote-description", WebRTCSDPType::Answer, answer);
    }

    /// Answers an offer, with all candidates.
    pub fn answer(&self, offer: &str) -> String {
        self.pipeline.set_state(gst::State::Playing).unwrap();
        self.describe("set-remote-description", WebRTCSDPType::Offer, offer);
        self.create("answer")
    }

    fn create(&self, what: &str) -> String {
        let reply = self.ask(&format!("create-{what}"), None::<gst::Structure>.to_value());
        let description = reply.unwrap().get::<WebRTCSessionDescription>(what).unwrap();
        let (sender, gathered) = mpsc::channel();
        self.webrtc.connect_notify(Some("ice-gathering-state"), move |webrtc, _| {
            let state = webrtc.property::<WebRTCICEGatheringState>("ice-gathering-state");
            if state == WebRTCICEGatheringState::Complete {
                let _ = sender.send(());
            }
        });
        self.ask("set-local-description", description.to_value());
        gathered.recv_timeout(PATIENCE).unwrap();
        self.webrtc.property::<WebRTCSessionDescription>("local-description").sdp().as_text().unwrap()
    }

    fn describe(&self, signal: &str, kind: WebRTCSDPType, text: &str) {
        let sdp = SDPMessage::parse_buffer(text.as_bytes()).unwrap();
        self.ask(signal, WebRTCSessionDescription::new(kind, sdp).to_value());
    }

    fn ask(&self, signal: &str, argument: glib::Value) -> Option<gst::Structure> {
        let (sender, answer) = mpsc::channel();
        let promise = gst::Promise::with_change_func(move |reply| {
            let _ = sender.send(reply.unwrap().map(|reply| reply.to_owned()));
        });
        self.webrtc.emit_by_name_with_values(signal, &[argument, promise.to_value()]);
        let reply = answer.recv_timeout(PATIENCE).unwrap();
        let error = reply.as_ref().and_then(|reply| reply.get::<glib::Error>("error").ok());
        assert!(error.is_none(), "{error:?}");
        reply
    }

    /// Pictures that were decoded, and their width.
    pub fn pictures(&self) -> (u64, u64) {
        (self.received.pictures.load(Ordering::SeqCst), self.received.width.load(Ordering::SeqCst))
    }

    /// Samples that were decoded, and how many of them are loud.
    pub fn sounds(&self) -> (u64, u64) {
        (self.received.sounds.load(Ordering::SeqCst), self.received.loud.load(Ordering::SeqCst))
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn decode(pipeline: &gst::Pipeline, pad: &gst::Pad, received: &Arc<Received>) {
    let caps = pad.current_caps().unwrap();
    let is_picture = caps.structure(0).unwrap().get::<&str>("media").unwrap() == "video";
    let line = if is_picture {
        "rtph264depay ! avdec_h264 ! videoconvert ! video/x-raw,format=I420 ! appsink name=end sync=false"
    } else {
        "rtpopusdepay ! opusdec ! audioconvert ! audio/x-raw,format=S16LE,channels=1 ! appsink name=end sync=false"
    };
    let branch = gst::parse::bin_from_description(line, true).unwrap();
    let end = branch.by_name("end").unwrap().downcast::<gst_app::AppSink>().unwrap();
    let counts = received.clone();
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        if is_picture {
            let width = sample.caps().unwrap().structure(0).unwrap().get::<i32>("width").unwrap();
            counts.width.store(width as u64, Ordering::SeqCst);
            counts.pictures.fetch_add(1, Ordering::SeqCst);
        } else {
            let bytes = sample.buffer().unwrap().map_readable().unwrap();
            let samples = bytes.as_chunks::<2>().0.iter().map(|sample| i16::from_le_bytes(*sample));
            let loud = samples.clone().filter(|sample| sample.unsigned_abs() > 1000).count();
            counts.loud.fetch_add(loud as u64, Ordering::SeqCst);
            counts.sounds.fetch_add(samples.count() as u64, Ordering::SeqCst);
        }
        Ok(gst::FlowSuccess::Ok)
    });
    end.set_callbacks(callbacks.build());
    pipeline.add(&branch).unwrap();
    branch.sync_state_with_parent().unwrap();
    pad.link(&branch.static_pad("sink").unwrap()).unwrap();
}
