# SPDX-License-Identifier: MPL-2.0
"""A presenter for programs on asyncio: sound goes in at any pace, pictures and the same sound come out in real time, in step.

It is the element `lipsyncsrc` in a pipeline of its own. Whoever iterates over a `Presenter` gets, in the order in which they belong
together, a `Picture` for each frame, behind it the `Sound` that is heard while it is shown, and an `UtteranceEnd` right behind the
last sample of an utterance. While nobody speaks there are pictures only.

All methods are for the event loop in which `start` was called. GStreamer's threads hand over to it and touch nothing else.
"""

import asyncio
import logging
import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
gi.require_version("GstVideo", "1.0")
# GstApp and GstVideo teach PyGObject the types that are used here.
from gi.repository import Gst, GstApp, GstVideo  # noqa: E402, F401

log = logging.getLogger(__name__)

SECOND = 1_000_000_000
# Bytes of a sample of one channel: all sound is S16.
WIDTH = 2
# Bytes of a pixel in each plane, and by how much planes are smaller than the picture.
PLANES = {"I420": ((1, 1), (1, 2), (1, 2)), "RGB": ((3, 1),), "RGBA": ((4, 1),)}
# Pictures of nobody speaking that wait for whoever iterates; then the oldest goes.
IDLE_PICTURES = 3
# Hand-overs under way to the event loop: while it is blocked, GStreamer waits.
MOST_HANDOVERS = 100
# Seconds that an interruption waits until the last sound of what it cut off has been taken.
PATIENCE = 1.0
# Seconds of sound that may wait for whoever iterates when it is to fall silent; what is more is dropped.
STALE = 0.2


class PresenterError(Exception):
    """The presenter cannot start, or has failed: a sentence that names the cause."""


@dataclass(frozen=True)
class Picture:
    """A frame of video, its planes packed without padding."""

    data: bytes
    width: int
    height: int
    #: "I420", "RGB" or "RGBA"
    format: str
    #: running time in nanoseconds
    time: int


@dataclass(frozen=True)
class Sound:
    """Some of what is said, as it was pushed: S16, interleaved."""

    data: bytes
    rate: int
    channels: int
    #: the utterance that it belongs to
    utterance: str
    #: running time in nanoseconds
    time: int

    @property
    def samples(self) -> int:
        """Samples of each channel."""
        return len(self.data) // (WIDTH * self.channels)


@dataclass(frozen=True)
class UtteranceEnd:
    """All of an utterance has come out."""

    utterance: str
    #: samples of each channel that have come out
    samples: int
    rate: int


@dataclass(frozen=True)
class Interruption:
    """What an interruption has cut off."""

    #: `None` if nothing was being said, nor waiting to be
    utterance: str | None
    #: samples of each channel that whoever iterates has got of it
    samples: int
    rate: int

    @property
    def seconds(self) -> float:
        """How much of the utterance has come out."""
        return self.samples / self.rate if self.rate else 0.0


@dataclass
class _Utterance:
    name: str
    rate: int
    channels: int
    # Interruptions before it.
    generation: int
    # What has been pushed and has not come out of the element.
    waiting: bytearray = field(default_factory=bytearray)
    # Running time of its first sample, once the frame is here that shows it.
    begins: int | None = None
    # Samples that come out in all, and the running time of the end, once the frame is here that shows it.
    total: int | None = None
    ends: int | None = None
    # It was cut off: `total` samples still come out, whatever they are.
    is_cut: bool = False
    # Samples that have come out of the element, and those that whoever iterates has taken.
    out: int = 0
    taken: int = 0
    # All of it has come out.
    is_complete: bool = False

    @property
    def frame(self) -> int:
        return WIDTH * self.channels

    def seconds(self, size: int) -> float:
        return size / (self.frame * self.rate)


@dataclass
class _Shown:
    picture: Picture
    duration: int
    fps: float
    # What the element told with this frame: id of an utterance, running time, samples at its end or None at its start.
    notes: list


@dataclass
class _Heard:
    data: bytes
    rate: int
    channels: int
    time: int

    def time_of(self, byte: int) -> int:
        return self.time + byte // (WIDTH * self.channels) * SECOND // self.rate

    def split(self, byte: int):
        """What comes before that byte, and the rest."""
        after = _Heard(self.data[byte:], self.rate, self.channels, self.time_of(byte))
        return _Heard(self.data[:byte], self.rate, self.channels, self.time), after

    def place_of(self, time: int) -> int:
        """The byte at which the sample of that time begins; times are rounded."""
        return max(0, round((time - self.time) * self.rate / SECOND)) * WIDTH * self.channels


class Presenter:
    """Iterate over it for what comes out; `start` it before, and `aclose` it in the end.

    avatar: name or folder of the avatar.
    format: of the pictures, "I420", "RGB" or "RGBA".
    max_backlog: seconds of sound that may be under way; `speak` waits while there are more.
    max_lag: seconds by which whoever iterates may be behind while there is speech. Then the presenter stands still, and goes on
        when half of that has been taken: no picture of a speaking face and no sound is left out.
    properties: further properties of `lipsyncsrc`, such as {"lookahead": 212_500_000}.
    """

    def __init__(self, avatar="iris", *, format="I420", max_backlog=10.0, max_lag=1.0, properties=None):
        if format not in PLANES:
            raise PresenterError(f'format "{format}" is none of {", ".join(PLANES)}')
        self._avatar = avatar
        self._format = format
        self._max_backlog = max_backlog
        self._max_lag = max_lag
        self._properties = dict(properties or {})

        self._loop = None
        self._executor = None
        self._pipeline = self._source = self._voice = None
        self._format_in = None
        self._handovers = threading.Semaphore(MOST_HANDOVERS)
        # Of the thread that pushes video: what is told with its next frame.
        self._told = []

        self._changed = None
        self._closing = None
        self._has_ended = False
        self._failure = None
        self._first = None
        self._fps = 0.0

        # What has come from the element, until both pads have got so far.
        self._shown = deque()
        self._heard = deque()
        self._shown_until = None
        self._heard_until = 0

        # What waits for whoever iterates, and how much of that is sound.
        self._ready = deque()
        self._ready_seconds = 0.0
        self._is_iterated = False
        self._is_asked = False
        self._is_paused = False

        # From their first sample on until their end has been taken.
        self._utterances = deque()
        self._count = 0
        self._open = None
        self._generation = 0
        self._turn = asyncio.Lock()

    # ---- life

    async def start(self):
        """Starts the presenter, and returns when its first picture is here.

        Raises `PresenterError` if the plugin is missing, or the avatar cannot be loaded.
        """
        if self._loop is not None:
            raise PresenterError("a presenter is started once: make another")
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        # A thread of its own, so that none of the loop's is left behind.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="presenter")
        try:
            self._build()
            if await self._in_thread(self._pipeline.set_state, Gst.State.PLAYING) == Gst.StateChangeReturn.FAILURE:
                self._failure = self._failure or PresenterError("the presenter does not start")
            await self._until(lambda: self._first is not None)
            self._plug_in_voice()
        except BaseException:
            await self.aclose()
            raise
        return self

    def _build(self):
        if not Gst.is_initialized():
            Gst.init(None)
        self._pipeline = Gst.Pipeline.new(None)
        bus = self._pipeline.get_bus()
        # Messages are told by the thread that pushes the frame they belong to, before that frame.
        bus.enable_sync_message_emission()
        bus.connect("sync-message::element", self._on_told)
        bus.connect("sync-message::error", self._on_error)
        bus.connect("sync-message::warning", self._on_warning)
        bus.connect("sync-message::eos", lambda *_: self._hand_over(self._end))
        self._source = _make("lipsyncsrc")
        try:
            for name, value in {"avatar": str(self._avatar), **self._properties}.items():
                self._source.set_property(name, value)
        except (TypeError, ValueError) as error:
            raise PresenterError(f"lipsyncsrc does not take its property {name}={value!r}: {error}") from error
        # Never so much that `push` would wait in the event loop's thread.
        self._source.set_property("max-backlog", int((self._max_backlog + 1) * SECOND))
        caps = f"video/x-raw,format={self._format}"
        if self._format == "I420":
            # What receivers of WebRTC take pictures for.
            caps += ",colorimetry=bt601"
        self._pipeline.add(self._source)
        self._add_sink("src", caps, self._on_picture)
        self._add_sink("audio", "audio/x-raw,format=S16LE,layout=interleaved", self._on_sound)
        # Sound is pushed in the event loop's thread: what `speak` has pushed is in the element, and no interruption can miss it.
        self._voice = Gst.Pad.new("voice", Gst.PadDirection.SRC)

    def _plug_in_voice(self):
        self._voice.set_active(True)
        if self._voice.link(self._source.request_pad_simple("sink")) != Gst.PadLinkReturn.OK:
            raise PresenterError("lipsyncsrc takes no sound")
        self._voice.push_event(Gst.Event.new_stream_start("voice"))

    def _add_sink(self, pad, caps, on_sample):
        sink = _make("appsink")
        sink.set_property("caps", Gst.Caps.from_string(caps))
        # The element sends each buffer at its time.
        sink.set_property("sync", False)
        sink.set_property("enable-last-sample", False)
        sink.set_property("max-buffers", 1)
        sink.set_property("emit-signals", True)
        sink.connect("new-sample", on_sample)
        self._pipeline.add(sink)
        self._source.link_pads(pad, sink, "sink")

    async def aclose(self):
        """Stops the presenter; whoever iterates comes to the end. May be called at any time and more than once."""
        if self._closing is None:
            self._closing = asyncio.ensure_future(self._close())
        await asyncio.shield(self._closing)

    async def _close(self):
        self._end()
        if self._pipeline is not None:
            await self._in_thread(self._pipeline.set_state, Gst.State.NULL)
            self._pipeline.get_bus().disable_sync_message_emission()
        if self._executor is not None:
            # Its last task has ended.
            self._executor.shutdown()
        self._pipeline = self._source = self._voice = None
        for queue in (self._shown, self._heard, self._ready, self._utterances):
            queue.clear()
        self._ready_seconds = 0.0

    async def __aenter__(self):
        return await self.start()

    async def __aexit__(self, *_):
        await self.aclose()

    async def _in_thread(self, function, *arguments):
        return await self._loop.run_in_executor(self._executor, function, *arguments)

    # ---- what it is

    @property
    def element(self):
        """The element `lipsyncsrc`, for its properties and signals (`state`, `play-clip`); `None` when it is closed."""
        return self._source

    @property
    def size(self):
        """Width and height of the pictures, in pixels."""
        self._check()
        return self._first.width, self._first.height

    @property
    def format(self):
        """Format of the pictures."""
        return self._format

    @property
    def fps(self):
        """Pictures in a second."""
        self._check()
        return self._fps

    def _check(self):
        if self._failure is not None:
            raise self._failure
        if self._first is None or self._has_ended:
            raise PresenterError("the presenter is not running: start it first")

    # ---- sound in

    async def speak(self, data, rate, channels=1):
        """Appends sound (S16, interleaved) to the open utterance, or begins one. Waits while more than `max_backlog` is under way.

        What is under way ends by being iterated over, which another task must do meanwhile.

        Returns the name of the utterance; `None` if it was interrupted meanwhile, and the sound is dropped.
        """
        self._check()
        if rate < 1000 or channels < 1:
            raise PresenterError(f"sound of {rate} Hz and {channels} channels: send 1000 Hz or more, and a channel or more")
        data = bytes(data)
        data = data[: len(data) - len(data) % (WIDTH * channels)]
        generation = self._generation
        async with self._turn:
            await self._until(lambda: self._is_spoken_to(generation))
            if generation != self._generation:
                return None
            self._check()
            utterance = self._open
            if not data:
                return utterance and utterance.name
            if utterance is not None and (utterance.rate, utterance.channels) != (rate, channels):
                self.finish()
                utterance = None
            if utterance is None:
                utterance = self._begin(rate, channels)
            utterance.waiting += data
            self._push(self._voice.push(Gst.Buffer.new_wrapped(data)))
            return utterance.name

    def _is_spoken_to(self, generation):
        """Whether there is room for more, or no use in waiting for it."""
        return self._has_ended or generation != self._generation or self._under_way() < self._max_backlog

    def _begin(self, rate, channels):
        self._count += 1
        utterance = _Utterance(str(self._count), rate, channels, self._generation)
        if (rate, channels) != self._format_in:
            self._format_in = (rate, channels)
            caps = f"audio/x-raw,format=S16LE,layout=interleaved,rate={rate},channels={channels}"
            if channels > 2:
                # Channels without places: nobody has told which is where.
                caps += ",channel-mask=(bitmask)0"
            self._voice.push_event(Gst.Event.new_caps(Gst.Caps.from_string(caps)))
            segment = Gst.Segment()
            segment.init(Gst.Format.TIME)
            self._voice.push_event(Gst.Event.new_segment(segment))
        self._mark("start", utterance)
        self._utterances.append(utterance)
        self._open = utterance
        return utterance

    def _mark(self, what, utterance):
        structure = Gst.Structure.new_empty(f"lipsync-utterance-{what}")
        structure.set_value("id", utterance.name)
        self._voice.push_event(Gst.Event.new_custom(Gst.EventType.CUSTOM_DOWNSTREAM, structure))

    def _push(self, flow):
        if flow not in (Gst.FlowReturn.OK, Gst.FlowReturn.FLUSHING):
            self._fail(PresenterError(f"the presenter takes no more sound ({flow.value_nick})"))

    def finish(self):
        """Says that the open utterance is complete. Returns its name, or `None` if there is none."""
        self._check()
        utterance, self._open = self._open, None
        if utterance is None:
            return None
        self._mark("end", utterance)
        return utterance.name

    def _under_way(self):
        """Seconds of sound that have been pushed, and not taken by whoever iterates."""
        return self._ready_seconds + sum(utterance.seconds(len(utterance.waiting)) for utterance in self._utterances)

    async def drained(self):
        """Waits until all that was pushed has been taken by whoever iterates."""
        await self._until(lambda: not self._utterances or self._has_ended)

    async def interrupt(self, *, drain=True):
        """Drops all that is being said and waits to be said: the mouth closes within two frames.

        drain: the sound fades out, and this returns when whoever iterates has taken that, and asks for more. Whoever is late gets
            no more of it, and is waited for, too. Without, this returns at once, and no more of it comes.
        An utterance that is cut off has no `UtteranceEnd`.
        """
        self._check()
        self._generation += 1
        self._open = None
        answer = self._source.emit("interrupt")
        name, samples = answer.get_string("utterance"), answer.get_value("samples")
        if not drain or not self._is_iterated:
            return self._drop()
        if self._ready_seconds > STALE:
            # Whoever is far behind would be heard for long.
            interruption = self._drop()
            await self._patiently(lambda: self._is_asked or self._has_ended)
            return interruption
        kept = True
        cut = None
        for utterance in self._utterances:
            if utterance.name == name:
                kept, cut = False, utterance
                utterance.is_cut, utterance.total = True, samples
            elif not kept:
                utterance.is_complete = True
                utterance.waiting.clear()
        self._advance()
        self._complete_cut()
        self._notify()
        # What is pushed from now on is not waited for.
        if not await self._patiently(lambda: self._has_ended or (self._is_asked and not self._interrupted())):
            return self._drop(cut)
        return Interruption(cut and cut.name, cut.taken if cut else 0, cut.rate if cut else 0)

    async def _patiently(self, condition):
        """Waits until the condition is true, but not for ever. Returns whether it is."""
        try:
            await asyncio.wait_for(self._until(condition), PATIENCE)
        except TimeoutError:
            return False
        return True

    def _complete_cut(self):
        """Forgets what was cut off and has come out."""
        for utterance in self._utterances:
            if utterance.is_cut and utterance.out >= utterance.total:
                utterance.is_complete = True
                utterance.waiting.clear()
        # What has no end to be taken.
        waiting = {item.utterance for item in self._ready if not isinstance(item, Picture)}
        self._utterances = deque(
            utterance for utterance in self._utterances if not utterance.is_complete or utterance.name in waiting
        )

    def _interrupted(self):
        """Utterances from before the last interruption of which something is still to be taken."""
        return [utterance for utterance in self._utterances if utterance.generation < self._generation]

    def _drop(self, cut=None):
        """Drops all sound from before the last interruption that has not been taken."""
        dropped = self._interrupted()
        if dropped:
            cut = dropped[0]
        names = {utterance.name for utterance in dropped}
        self._utterances = deque(utterance for utterance in self._utterances if utterance.name not in names)
        self._ready = deque(item for item in self._ready if isinstance(item, Picture) or item.utterance not in names)
        self._ready_seconds = sum(item.samples / item.rate for item in self._ready if isinstance(item, Sound))
        self._trim()
        self._pace()
        self._notify()
        return Interruption(cut and cut.name, cut.taken if cut else 0, cut.rate if cut else 0)

    # ---- what comes out

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self._is_asked:
            raise RuntimeError("two tasks iterate over the same presenter")
        self._is_iterated = self._is_asked = True
        self._notify()
        try:
            await self._until(lambda: self._ready or self._has_ended)
            if not self._ready:
                raise StopAsyncIteration
            item = self._ready.popleft()
        finally:
            self._is_asked = False
        if isinstance(item, Sound):
            self._ready_seconds -= item.samples / item.rate
            for utterance in self._utterances:
                if utterance.name == item.utterance:
                    utterance.taken += item.samples
            self._complete_cut()
        elif isinstance(item, UtteranceEnd):
            while self._utterances and self._utterances[0].is_complete:
                if self._utterances.popleft().name == item.utterance:
                    break
        self._pace()
        self._notify()
        return item

    # ---- from GStreamer's threads

    def _hand_over(self, function, *arguments):
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            # The loop was closed before the presenter was.
            return Gst.FlowReturn.FLUSHING
        return Gst.FlowReturn.OK

    def _hand_over_media(self, function, item):
        while not self._handovers.acquire(timeout=0.1):
            if self._has_ended:
                return Gst.FlowReturn.FLUSHING
        return self._hand_over(self._take_over, function, item)

    def _on_picture(self, sink):
        sample = sink.emit("pull-sample")
        if sample is None:
            return Gst.FlowReturn.EOS
        told, self._told = self._told, []
        info = GstVideo.VideoInfo.new_from_caps(sample.get_caps())
        buffer = sample.get_buffer()
        data = _pack(buffer.extract_dup(0, buffer.get_size()), info, self._format)
        picture = Picture(data, info.width, info.height, self._format, buffer.pts)
        return self._hand_over_media(self._show, _Shown(picture, buffer.duration, info.fps_n / max(info.fps_d, 1), told))

    def _on_sound(self, sink):
        sample = sink.emit("pull-sample")
        if sample is None:
            return Gst.FlowReturn.EOS
        caps = sample.get_caps().get_structure(0)
        buffer = sample.get_buffer()
        data = buffer.extract_dup(0, buffer.get_size())
        heard = _Heard(data, caps.get_int("rate").value, caps.get_int("channels").value, buffer.pts)
        return self._hand_over_media(self._hear, heard)

    def _on_told(self, _bus, message):
        structure = message.get_structure()
        name = structure.get_name()
        if name == "lipsync-utterance-start":
            self._told.append((structure.get_string("id"), structure.get_value("running-time"), None))
        elif name == "lipsync-utterance-end" and structure.get_string("reason") != "interrupted":
            time, samples = structure.get_value("running-time"), structure.get_value("samples")
            self._told.append((structure.get_string("id"), time, samples))

    def _on_error(self, _bus, message):
        error, details = message.parse_error()
        log.debug("%s (%s)", error.message, details)
        self._hand_over(self._fail, PresenterError(error.message))

    def _on_warning(self, _bus, message):
        warning, details = message.parse_warning()
        log.debug("%s (%s)", warning.message, details)
        log.warning("%s", warning.message)

    # ---- in the event loop

    def _take_over(self, function, item):
        self._handovers.release()
        if self._has_ended:
            return
        # They have been told already.
        bus = self._pipeline.get_bus()
        while bus.pop() is not None:
            pass
        function(item)
        self._notify()

    def _end(self):
        self._has_ended = True
        if self._changed is not None:
            self._notify()

    def _fail(self, failure):
        self._failure = self._failure or failure
        self._notify()

    def _show(self, shown):
        if self._first is None:
            self._first, self._fps = shown.picture, shown.fps
        self._shown.append(shown)
        self._advance()

    def _hear(self, heard):
        self._heard.append(heard)
        self._heard_until = heard.time_of(len(heard.data))
        self._advance()

    def _advance(self):
        """Takes what has come from both pads in the order of time: a picture, and the sound that is heard while it is shown."""
        while True:
            sound = self._heard[0] if self._heard else None
            place = 0
            if sound is not None and self._shown_until is not None:
                place = sound.place_of(self._shown_until)
            if place > 0:
                self._heard.popleft()
                before, after = sound.split(place)
                if after.data:
                    self._heard.appendleft(after)
                self._utter(before)
            elif self._shown and self._is_next_heard():
                next_time = self._shown[0].picture.time
                if self._shown_until is not None and self._shown_until < next_time:
                    # Frames were left out: the last one is shown until the next.
                    self._shown_until = next_time
                else:
                    self._emit_picture(self._shown.popleft())
            else:
                return

    def _is_next_heard(self):
        """Whether all sound has come that is heard before the next picture."""
        return (
            self._shown_until is None
            or self._heard_until + SECOND // 1000 >= self._shown[0].picture.time
            # One of the pads has stopped: the other goes on.
            or len(self._shown) > MOST_HANDOVERS
        )

    def _emit_picture(self, shown):
        time = shown.picture.time
        for utterance in self._utterances:
            if utterance.ends is not None and utterance.ends <= time and not utterance.is_complete:
                # Some of it was lost on the way, else it would be complete.
                self._complete(utterance)
        for name, told_time, samples in shown.notes:
            for utterance in self._utterances:
                if utterance.name == name and not utterance.is_cut:
                    if samples is None:
                        utterance.begins = told_time
                    else:
                        utterance.total, utterance.ends = samples, told_time
        self._shown_until = time + shown.duration
        self._ready.append(shown.picture)
        self._trim()
        self._pace()

    def _current(self):
        """The utterance that is being said, if it has begun."""
        for utterance in self._utterances:
            if not utterance.is_complete:
                return utterance if utterance.begins is not None else None
        return None

    def _utter(self, sound):
        """Passes on what is said of some sound that came out of the element, and leaves out the silence between."""
        while sound.data and (utterance := self._current()) is not None:
            if (utterance.rate, utterance.channels) != (sound.rate, sound.channels):
                # Silence before it.
                return
            if utterance.out == 0:
                _, sound = sound.split(sound.place_of(utterance.begins))
            if utterance.is_cut:
                # It fades.
                size = (utterance.total - utterance.out) * utterance.frame
            else:
                size = _alike(sound.data, utterance.waiting, utterance.frame)
                if size == 0:
                    silent = len(sound.data) - len(sound.data.lstrip(b"\0"))
                    silent -= silent % utterance.frame
                    if silent > 0:
                        _, sound = sound.split(silent)
                        continue
                    # Not what was pushed: some was lost while the event loop was blocked.
                    size = len(sound.data)
            said, sound = sound.split(size)
            self._say(utterance, said)

    def _say(self, utterance, said):
        if said.data:
            item = Sound(said.data, said.rate, said.channels, utterance.name, said.time)
            self._ready.append(item)
            self._ready_seconds += item.samples / item.rate
            utterance.out += item.samples
            del utterance.waiting[: len(said.data)]
        if utterance.total is not None and utterance.out >= utterance.total:
            self._complete(utterance)

    def _complete(self, utterance):
        utterance.is_complete = True
        utterance.waiting.clear()
        if utterance.is_cut:
            self._complete_cut()
        else:
            self._ready.append(UtteranceEnd(utterance.name, utterance.out, utterance.rate))

    def _trim(self):
        """Drops pictures that nobody takes, where nobody speaks in them."""
        if self._current() is None and all(isinstance(item, Picture) for item in self._ready):
            while len(self._ready) > IDLE_PICTURES:
                self._ready.popleft()

    def _pace(self):
        """Lets the presenter stand still while whoever iterates is far behind."""
        if self._has_ended or self._pipeline is None:
            return
        lag = sum(isinstance(item, Picture) for item in self._ready) / (self._fps or 25)
        if not self._is_paused and lag > self._max_lag:
            self._is_paused = True
            self._pipeline.set_state(Gst.State.PAUSED)
        elif self._is_paused and lag <= self._max_lag / 2:
            self._is_paused = False
            self._pipeline.set_state(Gst.State.PLAYING)

    async def _until(self, condition):
        """Waits until the condition is true. Raises what has failed meanwhile."""
        while not condition():
            if self._failure is not None:
                raise self._failure
            self._changed.clear()
            await self._changed.wait()

    def _notify(self):
        self._changed.set()


def _make(name):
    element = Gst.ElementFactory.make(name)
    if element is None:
        ours = "set GST_PLUGIN_PATH to the folder with libgstlipsync.so"
        theirs = "install gstreamer1.0-plugins-base"
        raise PresenterError(f"GStreamer has no element {name}: {ours if name == 'lipsyncsrc' else theirs}")
    return element


def _pack(data, info, format):
    """The planes of a picture, without the padding that GStreamer puts behind rows (where downstream asks for none, as here)."""
    planes = []
    for plane, (pixel, divisor) in enumerate(PLANES[format]):
        row = -(-info.width // divisor) * pixel
        height = -(-info.height // divisor)
        start, stride = info.offset[plane], info.stride[plane]
        if stride == row:
            planes.append(data[start : start + row * height])
        else:
            planes += [data[start + y * stride : start + y * stride + row] for y in range(height)]
    size = sum(map(len, planes))
    return data if size == len(data) else b"".join(planes)


def _alike(heard, waiting, frame):
    """How many bytes of whole samples both begin with."""
    size = min(len(heard), len(waiting))
    if heard[:size] == waiting[:size]:
        return size
    # All of the first `low` samples are alike, not all of the first `high`.
    low, high = 0, size // frame
    while high - low > 1:
        middle = (low + high) // 2
        if heard[: middle * frame] == waiting[: middle * frame]:
            low = middle
        else:
            high = middle
    return low * frame
