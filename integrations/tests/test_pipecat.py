# SPDX-License-Identifier: MPL-2.0
"""A real pipeline of Pipecat, with its worker, its runner and its output transport."""

import asyncio
import contextlib
import itertools

import pytest
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    CancelFrame,
    EndFrame,
    ErrorFrame,
    InterruptionFrame,
    OutputImageRawFrame,
    TextFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner

from conftest import RATE, noise, own_threads, run
from lipsync_avatar.pipecat import LipsyncProcessor
from lipsync_avatar.presenter import PresenterError

PROPERTIES = {"lookahead": 92_500_000}


class Recorder(FrameProcessor):
    """Takes note of all frames that pass."""

    def __init__(self):
        super().__init__(enable_direct_mode=True)
        self.frames = []

    async def process_frame(self, frame, direction):
        await super().process_frame(frame, direction)
        self.frames.append(frame)
        await self.push_frame(frame, direction)

    def of(self, kind):
        return [frame for frame in self.frames if isinstance(frame, kind)]

    def sound(self, context=None):
        frames = self.of(TTSAudioRawFrame)
        return b"".join(frame.audio for frame in frames if context in (None, frame.context_id))

    async def has(self, kind, count=1):
        while len(self.of(kind)) < count:
            await asyncio.sleep(0.01)


class Running:
    """A pipeline with a processor between two recorders, and whatever comes behind it."""

    def __init__(self, avatar, *behind, **keywords):
        self.before, self.behind = Recorder(), Recorder()
        self.processor = LipsyncProcessor(avatar, properties=PROPERTIES, **keywords)
        pipeline = Pipeline([self.before, self.processor, self.behind, *behind])
        params = PipelineParams(audio_out_sample_rate=RATE)
        self.worker = PipelineWorker(pipeline, params=params, enable_rtvi=False, cancel_on_idle_timeout=False)
        self.queue = self.worker.queue_frame

    async def __aenter__(self):
        started = asyncio.Event()

        @self.worker.event_handler("on_pipeline_started")
        async def on_pipeline_started(_worker, _frame):
            started.set()

        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self.worker)
        self.running = asyncio.ensure_future(runner.run())
        await started.wait()
        return self

    async def __aexit__(self, *_):
        if not self.running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await self.worker.cancel()
        await self.running
        assert self.processor.presenter.element is None
        assert own_threads() == []

    async def say(self, context, sound, size=2 * 480):
        await self.queue(TTSStartedFrame(context_id=context))
        for start in range(0, len(sound), size):
            await self.queue(TTSAudioRawFrame(sound[start : start + size], RATE, 1, context_id=context))
        await self.queue(TTSStoppedFrame(context_id=context))


def test_what_is_spoken_comes_out_with_pictures_and_ends_in_step(avatar):
    sounds = {"first": noise(0.7, seed=1), "second": noise(0.4, seed=2)}

    async def main():
        async with Running(avatar) as running:
            for context, sound in sounds.items():
                await running.say(context, sound)
            await running.queue(TextFrame("passes"))
            await running.queue(EndFrame())
            # The end is held until all has been spoken.
            await running.running
            return running.behind

    behind = run(main())
    for context, sound in sounds.items():
        assert behind.sound(context) == sound
    assert {frame.sample_rate for frame in behind.of(TTSAudioRawFrame)} == {RATE}
    ended = [frame for frame in behind.frames if isinstance(frame, (TTSAudioRawFrame, TTSStoppedFrame, EndFrame))]
    kinds = [type(frame) for frame, after in itertools.pairwise(ended) if type(frame) is not type(after)]
    assert kinds == [TTSAudioRawFrame, TTSStoppedFrame] * 2
    assert isinstance(ended[-1], EndFrame)
    assert [frame.context_id for frame in behind.of(TTSStoppedFrame)] == ["first", "second"]
    # One for each frame of video that was spoken in, and idle ones.
    images = behind.of(OutputImageRawFrame)
    assert len(images) >= 1.1 * 25
    assert {(image.size, image.format, len(image.image)) for image in images} == {((480, 360), "RGB", 480 * 360 * 3)}
    assert [frame.text for frame in behind.of(TextFrame)] == ["passes"]


def test_an_interruption_is_exact_and_drops_what_was_held(avatar):
    sound, next_sound = noise(15, seed=1), noise(0.4, seed=2)

    async def main():
        async with Running(avatar) as running:
            await running.say("long", sound)
            await running.say("next", sound)
            while len(running.behind.sound()) < RATE:
                await asyncio.sleep(0.01)
            await running.queue(InterruptionFrame())
            await running.behind.has(InterruptionFrame)
            interruption = running.processor.last_interruption
            heard = running.behind.sound()
            assert heard == sound[: len(heard)]
            assert interruption.samples == len(heard) // 2
            # Nothing comes behind it, neither sound nor an end.
            place = [isinstance(frame, InterruptionFrame) for frame in running.behind.frames].index(True)
            await running.say("last", next_sound)
            await running.behind.has(TTSStoppedFrame)
            after = running.behind.frames[place:]
            assert {frame.context_id for frame in after if isinstance(frame, TTSAudioRawFrame)} == {"last"}
            assert [frame.context_id for frame in running.behind.of(TTSStoppedFrame)] == ["last"]
            assert running.behind.sound("last") == next_sound

    run(main())


def test_the_end_is_not_waited_for_where_all_is_interrupted(avatar):
    async def main():
        async with Running(avatar) as running:
            await running.say("long", noise(30))
            await running.behind.has(TTSAudioRawFrame)
            await running.queue(InterruptionFrame())
            await running.queue(EndFrame())
            await running.running
            assert not running.behind.of(TTSStoppedFrame)

    run(main())


def test_the_output_transport_shows_and_plays_it(avatar):
    sound = noise(0.5)
    played, shown = bytearray(), []

    class Transport(BaseOutputTransport):
        """A transport that keeps what it is to send."""

        async def start(self, frame):
            await super().start(frame)
            await self.set_transport_ready(frame)

        async def write_audio_frame(self, frame):
            played.extend(frame.audio)
            return True

        async def write_video_frame(self, frame):
            shown.append(frame)
            return True

    params = TransportParams(
        audio_out_enabled=True,
        audio_out_sample_rate=RATE,
        audio_out_end_silence_secs=0,
        video_out_enabled=True,
        video_out_is_live=True,
        video_out_width=480,
        video_out_height=360,
        video_out_framerate=25,
    )

    async def main():
        async with Running(avatar, Transport(params)) as running:
            await running.say("only", sound)
            await running.before.has(BotStartedSpeakingFrame)
            await running.before.has(BotStoppedSpeakingFrame)
            await running.queue(EndFrame())
            await running.running

    run(main())
    # A transport sends whole pieces.
    assert bytes(played[: len(sound)]) == sound
    assert not any(played[len(sound) :])
    assert len(shown) >= 10
    assert {frame.size for frame in shown} == {(480, 360)}


def test_a_pipeline_that_is_cancelled_leaves_nothing(avatar):
    async def main():
        async with Running(avatar) as running:
            await running.say("long", noise(30))
            await running.behind.has(TTSAudioRawFrame)
            await running.queue(CancelFrame())
            await running.running

    run(main())


def test_without_an_avatar_the_sound_goes_on_and_the_error_is_told():
    async def main():
        async with Running("/nowhere") as running:
            await running.say("only", noise(0.3))
            await running.behind.has(TTSStoppedFrame)
            assert running.behind.sound() == noise(0.3)
            await running.before.has(ErrorFrame)
            assert "/nowhere" in running.before.of(ErrorFrame)[0].error
            await running.queue(InterruptionFrame())
            await running.queue(EndFrame())
            await running.running

    run(main())


def test_formats_that_pipecat_does_not_know_are_refused():
    with pytest.raises(PresenterError, match="I420"):
        LipsyncProcessor(format="I420")


def test_frames_upstream_pass(avatar):
    async def main():
        async with Running(avatar) as running:
            await running.queue(TextFrame("up"), FrameDirection.UPSTREAM)
            await running.before.has(TextFrame)
            await running.queue(EndFrame())
            await running.running

    run(main())
