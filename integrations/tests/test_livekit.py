# SPDX-License-Identifier: MPL-2.0
"""LiveKit's own runner, sources, synchronizer and session; only the room, which would need a server, is a stand-in."""

import asyncio
import contextlib
import itertools

import pytest
from livekit import rtc
from livekit.agents import AgentSession
from livekit.agents.voice.avatar import AudioSegmentEnd, AvatarRunner, QueueAudioOutput
from PIL import Image, ImageStat

from conftest import RATE, noise, own_threads, run
from lipsync_avatar.livekit import AvatarSession, LipsyncGenerator
from lipsync_avatar.presenter import PresenterError

PROPERTIES = {"lookahead": 92_500_000}


class Publication:
    async def wait_for_subscription(self):
        await asyncio.sleep(0.2)


class Participant:
    identity = "agent"

    def __init__(self):
        self.published = []

    async def publish_track(self, track, options):
        self.published.append((track.kind, options.source))
        return Publication()


class Room(rtc.EventEmitter):
    """Connected from the start, with nobody else in it."""

    def __init__(self):
        super().__init__()
        self.local_participant = Participant()
        self.remote_participants = {}

    def isconnected(self):
        return True


class Recorder(LipsyncGenerator):
    """Takes note of what the runner gets."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self.got = []

    async def __anext__(self):
        item = await super().__anext__()
        self.got.append(item)
        return item

    def sound(self, since=0):
        return b"".join(bytes(item.data) for item in self.got[since:] if isinstance(item, rtc.AudioFrame))


@contextlib.asynccontextmanager
async def running(avatar, **keywords):
    generator = Recorder(avatar, properties=PROPERTIES, **keywords)
    await generator.start()
    output = QueueAudioOutput(sample_rate=RATE, wait_playback_start=True)
    room = Room()
    runner = AvatarRunner(room, audio_recv=output, video_gen=generator, options=generator.options(RATE))
    await runner.start()
    try:
        yield room, generator, output
    finally:
        await runner.aclose()
        await generator.aclose()
        await generator.aclose()
    assert own_threads() == []


async def say(output, sound, size=2 * 480):
    for start in range(0, len(sound), size):
        piece = sound[start : start + size]
        await output.capture_frame(rtc.AudioFrame(piece, RATE, 1, len(piece) // 2))


def test_a_segment_is_played_to_its_end_by_the_runner(avatar):
    sounds = noise(1, seed=1), noise(0.5, seed=2)
    started = []

    async def main():
        async with running(avatar) as (room, generator, output):
            output.on("playback_started", started.append)
            for number, sound in enumerate(sounds):
                await say(output, sound)
                output.flush()
                played = await output.wait_for_playout()
                assert not played.interrupted
                assert played.playback_position == pytest.approx(len(sound) / 2 / RATE, abs=1e-9)
                assert len(started) == number + 1
            assert generator.sound() == b"".join(sounds)
            kinds = [kind for kind, _ in room.local_participant.published]
            assert kinds == [rtc.TrackKind.KIND_AUDIO, rtc.TrackKind.KIND_VIDEO]
            return generator.got

    got = run(main())
    assert sum(isinstance(item, AudioSegmentEnd) for item in got) == 2
    for before, item in itertools.pairwise(got):
        # In step with its last frame: right behind the last of its sound.
        assert not isinstance(item, AudioSegmentEnd) or isinstance(before, rtc.AudioFrame)


def test_the_position_at_an_interruption_is_exact(avatar):
    sound, next_sound = noise(15, seed=1), noise(0.4, seed=2)
    started = []

    async def main():
        async with running(avatar) as (_, generator, output):
            output.on("playback_started", started.append)
            await say(output, sound, 2 * RATE)
            # It has been heard for a while.
            while len(generator.sound()) < RATE:
                await asyncio.sleep(0.01)
            output.clear_buffer()
            # As an agent does it: the segment that is cut off is ended as well.
            output.flush()
            played = await output.wait_for_playout()
            heard = generator.sound()
            assert played.interrupted
            assert played.playback_position == pytest.approx(len(heard) / 2 / RATE, abs=1e-9)
            assert played.playback_position == pytest.approx(generator.last_interruption.seconds, abs=1e-9)
            assert generator.last_interruption.samples == len(heard) // 2

            since = len(generator.got)
            await say(output, next_sound)
            output.flush()
            played = await output.wait_for_playout()
            assert not played.interrupted
            assert played.playback_position == pytest.approx(0.4, abs=1e-9)
            assert generator.sound(since) == next_sound
            assert sum(isinstance(item, AudioSegmentEnd) for item in generator.got) == 1
            assert len(started) == 2

    run(main())


def test_an_agent_speaks_through_the_avatar(avatar):
    sound = noise(0.5)

    async def main():
        session = AgentSession()
        room = Room()
        face = AvatarSession(avatar, properties=PROPERTIES, sample_rate=RATE)
        await face.start(session, room)
        assert (face.provider, face.avatar_identity) == ("lipsync", "agent")
        face.presenter.element.set_property("state", "listening")
        output = session.output.audio
        await say(output, sound)
        output.flush()
        played = await output.wait_for_playout()
        assert played.playback_position == pytest.approx(0.5, abs=1e-9)
        await face.aclose()
        await face.aclose()
        with pytest.raises(PresenterError, match="nowhere"):
            await AvatarSession("/nowhere").start(session, room)
        await session.aclose()

    run(main())
    assert own_threads() == []


def test_livekit_takes_the_pictures_for_what_they_are(avatar):
    async def first(format):
        generator = LipsyncGenerator(avatar, format=format, properties=PROPERTIES)
        await generator.start()
        frame = await anext(generator)
        await generator.aclose()
        return frame

    frames = {format: run(first(format)) for format in ("RGB", "RGBA", "I420")}
    frame = frames["RGB"]
    red, green, blue = ImageStat.Stat(Image.frombytes("RGB", (frame.width, frame.height), bytes(frame.data))).mean
    # BT.601, as it is written in the standard.
    expected = [
        16 + 0.257 * red + 0.504 * green + 0.098 * blue,
        128 - 0.148 * red - 0.291 * green + 0.439 * blue,
        128 + 0.439 * red - 0.368 * green - 0.071 * blue,
    ]
    for format, frame in frames.items():
        converted = frame.convert(rtc.VideoBufferType.I420)
        planes = [bytes(converted.get_plane(number)) for number in range(3)]
        assert len(planes[0]) == frame.width * frame.height
        # They may be different frames of the avatar; colours in the wrong order are further off.
        assert [sum(plane) / len(plane) for plane in planes] == pytest.approx(expected, abs=4), format
