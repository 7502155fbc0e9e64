// SPDX-License-Identifier: MPL-2.0
//! One WebRTC connection that sends a session's picture and sound.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;
use gst_sdp::{SDPMediaRef, SDPMessage};
use gst_utils::streamproducer::{ConsumptionLink, StreamProducer};
use gst_webrtc::{
    WebRTCICEGatheringState, WebRTCPeerConnectionState, WebRTCRTPTransceiver, WebRTCRTPTransceiverDirection,
    WebRTCSDPType, WebRTCSessionDescription,
};
use lipsync_core::sync::lock;

use super::failure::{Failure, Outcome};
use super::options::Serve;
use super::pipeline;
use super::presenter::Streams;

/// What an answer of webrtcbin, and all candidates, may take: some STUN servers never answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of an offer or answer: they have some thousand.
pub const MAX_SDP: usize = 256 * 1024;

/// Servers that help viewers behind routers.
#[derive(Clone, Default)]
pub struct IceServers {
    stun: Option<String>,
    turn: Option<String>,
}

impl IceServers {
    pub fn of(options: &Serve) -> Self {
        Self { stun: options.stun.clone(), turn: options.turn.clone() }
    }
}

/// A connection is lost where nothing is heard for so long, or where it is not made within that time.
pub const SILENCE: Duration = Duration::from_secs(20);

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    Connected,
    Lost,
}

/// A connection. It is closed when it is dropped.
pub struct Peer {
    pipeline: gst::Pipeline,
    webrtc: gst::Element,
    links: Links,
    /// When the other side was last heard.
    heard: Arc<Mutex<Instant>>,
}

/// What is sent comes by these. Until the connection is made it is dropped: kept, it would all be sent at once in the end, and
/// browsers take half a minute to catch up, with the sound after the picture meanwhile.
type Links = Arc<Mutex<Vec<ConsumptionLink>>>;

/// RTP payload types of what is sent; `None` is not wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payloads {
    picture: Option<u8>,
    sound: Option<u8>,
}

impl Peer {
    /// Answers an offer; returns the answer with all candidates.
    ///
    /// # Errors
    /// Where the offer is none, or wants what is not sent.
    pub fn answer(
        streams: &Streams,
        ice: &IceServers,
        offer: &str,
        changed: impl Fn(Connection) + Send + Sync + 'static,
    ) -> Outcome<(Self, String)> {
        let sdp = SDPMessage::parse_buffer(offer.as_bytes())
            .map_err(|_| Failure::bad("the offer is no SDP. Send what createOffer() gives"))?;
        let payloads = Payloads::of(&sdp)?;
        let peer = Self::new(streams, ice, payloads, changed)?;
        peer.describe("set-remote-description", WebRTCSDPType::Offer, sdp)?;
        let answer = peer.create("answer")?;
        let local = peer.gather(&answer)?;
        Ok((peer, local))
    }

    /// Makes an offer with all candidates, for [`Self::accept`].
    ///
    /// # Errors
    /// Where webrtcbin makes none.
    pub fn offer(
        streams: &Streams,
        ice: &IceServers,
        changed: impl Fn(Connection) + Send + Sync + 'static,
    ) -> Outcome<(Self, String)> {
        let peer = Self::new(streams, ice, Payloads { picture: Some(96), sound: Some(97) }, changed)?;
        let offer = peer.create("offer")?;
        let local = peer.gather(&offer)?;
        Ok((peer, local))
    }

    /// Takes the answer to [`Self::offer`].
    ///
    /// # Errors
    /// Where it is none, or does not answer that offer.
    pub fn accept(&self, answer: &str) -> Outcome<()> {
        let sdp = SDPMessage::parse_buffer(answer.as_bytes());
        let sdp = sdp.map_err(|_| Failure::unusable("the server's answer is no SDP"))?;
        self.describe("set-remote-description", WebRTCSDPType::Answer, sdp)
    }

    /// How long nothing was heard of the other side, which reports every second or so what it has received. webrtcbin (1.22)
    /// does not notice that somebody is gone who did not say so.
    pub fn silence(&self) -> Duration {
        lock(&self.heard).elapsed()
    }

    /// Adds a candidate of the other side.
    pub fn add_candidate(&self, media: u32, candidate: &str) {
        self.webrtc.emit_by_name::<()>("add-ice-candidate", &[&media, &candidate]);
    }

    fn new(
        streams: &Streams,
        ice: &IceServers,
        payloads: Payloads,
        changed: impl Fn(Connection) + Send + Sync + 'static,
    ) -> Outcome<Self> {
        let mut line = "webrtcbin name=peer bundle-policy=max-bundle".to_string();
        if let Some(payload) = payloads.picture {
            line += &format!(
                " appsrc name=picture ! rtph264pay mtu=1200 aggregate-mode=zero-latency config-interval=-1 pt={payload} \
                 ! application/x-rtp,media=video,encoding-name=H264,payload={payload} ! peer."
            );
        }
        if let Some(payload) = payloads.sound {
            line += &format!(
                " appsrc name=sound ! rtpopuspay pt={payload} \
                 ! application/x-rtp,media=audio,encoding-name=OPUS,payload={payload} ! peer."
            );
        }
        let pipeline = pipeline::launch(&line)?;
        let webrtc: gst::Element = pipeline::element(&pipeline, "peer")?;
        if let Some(stun) = &ice.stun {
            webrtc.set_property("stun-server", stun);
        }
        if let Some(turn) = &ice.turn {
            webrtc.set_property("turn-server", turn);
        }
        // Routers are not asked to open ports: who may come in is the user's to say, and STUN and TURN do without.
        let agent =
            webrtc.property::<Option<glib::Object>>("ice-agent").filter(|ice| ice.has_property("agent"));
        if let Some(agent) = agent.and_then(|ice| ice.property::<Option<glib::Object>>("agent")) {
            agent.set_property("upnp", false);
        }
        let heard = Arc::new(Mutex::new(Instant::now()));
        // Sender reports tell when things were shown, not when they were sent: picture and sound are encoded for different
        // times, and would be shown as far apart.
        if let Some(rtp) = webrtc.downcast_ref::<gst::Bin>().and_then(|bin| bin.by_name("rtpbin")) {
            rtp.set_property("rtcp-sync-send-time", false);
            let heard = heard.clone();
            rtp.connect_pad_added(move |_, pad| {
                if pad.name().starts_with("recv_rtcp_sink") {
                    let heard = heard.clone();
                    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
                        *lock(&heard) = Instant::now();
                        gst::PadProbeReturn::Ok
                    });
                }
            });
        }
        for n in 0..2_i32 {
            let transceiver = webrtc.emit_by_name::<Option<WebRTCRTPTransceiver>>("get-transceiver", &[&n]);
            if let Some(transceiver) = transceiver {
                transceiver.set_property("direction", WebRTCRTPTransceiverDirection::Sendonly);
                transceiver.set_property("do-nack", true);
            }
        }
        let links = Links::default();
        let is_open = Arc::<AtomicBool>::default();
        // Behind the payloader, which tells webrtcbin its format, and from which nothing may wait there.
        for pad in webrtc.sink_pads().iter().filter_map(|pad| pad.peer()) {
            let is_open = is_open.clone();
            pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |_, _| {
                if is_open.load(Ordering::SeqCst) {
                    gst::PadProbeReturn::Remove
                } else {
                    gst::PadProbeReturn::Drop
                }
            });
        }
        let opened = Arc::downgrade(&links);
        webrtc.connect_notify(Some("connection-state"), move |webrtc, _| {
            match webrtc.property::<WebRTCPeerConnectionState>("connection-state") {
                WebRTCPeerConnectionState::Connected => {
                    is_open.store(true, Ordering::SeqCst);
                    // It goes on with a key frame, which is asked for.
                    if let Some(links) = opened.upgrade() {
                        lock(&links).iter().for_each(|link| link.set_discard(false));
                    }
                    changed(Connection::Connected);
                }
                WebRTCPeerConnectionState::Failed | WebRTCPeerConnectionState::Closed => {
                    changed(Connection::Lost);
                }
                _ => {}
            }
        });
        streams.share_time(&pipeline);
        let mut sources = Vec::new();
        for (name, payload, producer) in
            [("picture", payloads.picture, &streams.picture), ("sound", payloads.sound, &streams.sound)]
        {
            if payload.is_some() {
                let source: gst_app::AppSrc = pipeline::element(&pipeline, name)?;
                StreamProducer::configure_consumer(&source);
                sources.push((source, producer));
            }
        }
        let peer = Self { pipeline, webrtc, links, heard };
        let started = peer.pipeline.set_state(gst::State::Playing);
        started.map_err(|_| Failure::ours("the connection cannot be started"))?;
        // Only now: what comes before would be lost, and with it the key frame that everything else needs.
        for (source, producer) in sources {
            lock(&peer.links).push(producer.add_consumer(&source).map_err(Failure::ours)?);
        }
        peer.wait_for_formats()?;
        lock(&peer.links).iter().for_each(|link| link.set_discard(true));
        Ok(peer)
    }

    /// Waits until it is known what is sent: webrtcbin (1.22) makes up another SSRC for a description that it has to write before,
    /// and browsers then show nothing.
    fn wait_for_formats(&self) -> Outcome<()> {
        let (sender, changed) = mpsc::channel();
        let pads = self.webrtc.sink_pads();
        for pad in &pads {
            let sender = sender.clone();
            pad.connect_notify(Some("caps"), move |_, _| {
                let _ = sender.send(());
            });
        }
        let limit = Instant::now() + PATIENCE;
        while pads.iter().any(|pad| pad.current_caps().is_none()) {
            let left = limit.saturating_duration_since(Instant::now());
            if changed.recv_timeout(left).is_err() {
                let sentence = "the avatar is still being loaded. Try again in a moment";
                return Err(Failure::new(axum::http::StatusCode::SERVICE_UNAVAILABLE, sentence));
            }
        }
        Ok(())
    }

    /// `create-offer` or `create-answer`.
    fn create(&self, what: &str) -> Outcome<WebRTCSessionDescription> {
        let reply = self.ask(&format!("create-{what}"), &[&None::<gst::Structure>.to_value()])?;
        let description = reply.and_then(|reply| reply.get::<WebRTCSessionDescription>(what).ok());
        description.ok_or_else(|| Failure::unusable("this offer cannot be answered"))
    }

    fn describe(&self, signal: &str, kind: WebRTCSDPType, sdp: SDPMessage) -> Outcome<()> {
        let description = WebRTCSessionDescription::new(kind, sdp);
        self.ask(signal, &[&description.to_value()]).map(|_| ())
    }

    /// Sets the local description; returns it with all candidates.
    fn gather(&self, description: &WebRTCSessionDescription) -> Outcome<String> {
        let (done, gathered) = mpsc::channel();
        let handler = self.webrtc.connect_notify(Some("ice-gathering-state"), move |webrtc, _| {
            let state = webrtc.property::<WebRTCICEGatheringState>("ice-gathering-state");
            if state == WebRTCICEGatheringState::Complete {
                let _ = done.send(());
            }
        });
        self.ask("set-local-description", &[&description.to_value()])?;
        // Without an answer of a server, those that are known have to do.
        let _ = gathered.recv_timeout(PATIENCE);
        self.webrtc.disconnect(handler);
        let local = self.webrtc.property::<Option<WebRTCSessionDescription>>("local-description");
        let text = local.and_then(|local| local.sdp().as_text().ok());
        text.ok_or_else(|| Failure::ours("webrtcbin has no description"))
    }

    /// Emits a signal that is answered by a promise.
    fn ask(&self, signal: &str, arguments: &[&glib::Value]) -> Outcome<Option<gst::Structure>> {
        let (sender, answer) = mpsc::channel();
        let promise = gst::Promise::with_change_func(move |reply| {
            let _ = sender.send(reply.ok().flatten().map(|reply| reply.to_owned()));
        });
        let mut values: Vec<glib::Value> = arguments.iter().map(|value| (*value).clone()).collect();
        values.push(promise.to_value());
        self.webrtc.emit_by_name_with_values(signal, &values);
        let reply = answer.recv_timeout(PATIENCE).map_err(|_| Failure::ours("webrtcbin does not answer"))?;
        match reply.as_ref().and_then(|reply| reply.get::<glib::Error>("error").ok()) {
            Some(error) => Err(Failure::unusable(format!("it cannot be used: {}", error.message()))),
            None => Ok(reply),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        lock(&self.links).clear();
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Payloads {
    /// Those under which an offer takes H.264 and Opus.
    fn of(offer: &SDPMessage) -> Outcome<Self> {
        let of_kind = |kind: &'static str| offer.medias().filter(move |media| media.media() == Some(kind));
        let sends_back = |media: &&SDPMediaRef| {
            media.attribute_val("sendonly").is_none() && media.attribute_val("inactive").is_none()
        };
        let video = of_kind("video").find(sends_back);
        let picture = video.and_then(h264);
        if video.is_some() && picture.is_none() {
            return Err(Failure::unusable(
                "the offer takes no H.264 with packetization-mode=1, which is what is sent. Use a player that does",
            ));
        }
        let sound = of_kind("audio").find(sends_back).and_then(opus);
        if picture.is_none() && sound.is_none() {
            return Err(Failure::unusable(
                "the offer takes neither picture nor sound. Offer to receive video (H.264) and audio (Opus)",
            ));
        }
        Ok(Self { picture, sound })
    }
}

/// Payload types of a codec, with their parameters.
fn codecs<'a>(media: &'a SDPMediaRef, name: &'a str) -> impl Iterator<Item = (u8, String)> + 'a {
    let values = |key: &'a str| {
        media.attributes().filter(move |attribute| attribute.key() == key).filter_map(|found| found.value())
    };
    values("rtpmap").filter_map(move |map| {
        let (payload, codec) = map.split_once(' ')?;
        let codec = codec.split('/').next()?;
        let parameters = values("fmtp").find_map(|line| line.strip_prefix(payload)?.strip_prefix(' '));
        let payload = payload.parse().ok().filter(|_| codec.eq_ignore_ascii_case(name))?;
        Some((payload, parameters.unwrap_or_default().to_ascii_lowercase()))
    })
}

/// The payload type for H.264, preferably as it is encoded here.
fn h264(media: &SDPMediaRef) -> Option<u8> {
    let rank = |parameters: &str| {
        ["profile-level-id=42e0", "profile-level-id=42"]
            .iter()
            .position(|known| parameters.contains(known))
            .unwrap_or(2)
    };
    codecs(media, "H264")
        .filter(|(_, parameters)| parameters.contains("packetization-mode=1"))
        .min_by_key(|(_, parameters)| rank(parameters))
        .map(|(payload, _)| payload)
}

fn opus(media: &SDPMediaRef) -> Option<u8> {
    codecs(media, "opus").map(|(payload, _)| payload).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payloads(lines: &[&str]) -> Outcome<Payloads> {
        gst::init().unwrap();
        let text = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0"].iter().chain(lines);
        let text: String = text.flat_map(|line| [line, "\r\n"]).collect();
        Payloads::of(&SDPMessage::parse_buffer(text.as_bytes()).unwrap())
    }

    const VIDEO: &str = "m=video 9 UDP/TLS/RTP/SAVPF 102 104 106";
    const AUDIO: &[&str] = &["m=audio 9 UDP/TLS/RTP/SAVPF 111", "a=rtpmap:111 opus/48000/2"];

    #[test]
    fn the_payload_that_is_sent_is_chosen() {
        let video = [
            VIDEO,
            "a=rtpmap:102 H264/90000",
            "a=fmtp:102 packetization-mode=1;profile-level-id=640c1f",
            "a=rtpmap:104 H264/90000",
            "a=fmtp:104 packetization-mode=0;profile-level-id=42e01f",
            "a=rtpmap:106 H264/90000",
            "a=fmtp:106 packetization-mode=1;profile-level-id=42e01f",
        ];
        assert_eq!(payloads(&video).unwrap(), Payloads { picture: Some(106), sound: None });
        assert_eq!(payloads(AUDIO).unwrap(), Payloads { picture: None, sound: Some(111) });
        let both = [AUDIO, &video[..3]].concat();
        assert_eq!(payloads(&both).unwrap(), Payloads { picture: Some(102), sound: Some(111) });
    }

    #[test]
    fn what_is_not_sent_is_refused() {
        assert!(payloads(&[]).is_err());
        assert!(payloads(&[VIDEO, "a=rtpmap:102 VP8/90000"]).is_err());
        assert!(payloads(&[VIDEO, "a=rtpmap:102 H264/90000"]).is_err());
        assert!(payloads(&[AUDIO, &["a=sendonly"]].concat()).is_err());
    }
}
