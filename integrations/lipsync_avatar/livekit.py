# SPDX-License-Identifier: MPL-2.0
"""The presenter as an avatar of LiveKit Agents.

`AvatarSession` goes beside an agent, `LipsyncGenerator` into an `AvatarRunner` of your own.
"""

from livekit import rtc
from livekit.agents import AgentSession
from livekit.agents.voice.avatar import (
    AudioSegmentEnd,
    AvatarOptions,
    AvatarRunner,
    QueueAudioOutput,
    VideoGenerator,
)
from livekit.agents.voice.avatar import AvatarSession as BaseAvatarSession

from .presenter import Interruption, Picture, Presenter, Sound

TYPES = {
    "I420": rtc.VideoBufferType.I420,
    "RGB": rtc.VideoBufferType.RGB24,
    "RGBA": rtc.VideoBufferType.RGBA,
}


class LipsyncGenerator(VideoGenerator):
    """What `AvatarRunner` takes pictures and sound from. `start` it before, and `aclose` it after the runner.

    avatar, properties: as of `Presenter`.
    format: of the pictures, "I420" (the least work), "RGB" or "RGBA".
    presenter: one of your own in the place of all these.
    """

    def __init__(self, avatar="iris", *, format="I420", properties=None, presenter: Presenter | None = None) -> None:
        self._presenter = presenter or Presenter(avatar, format=format, properties=properties)
        #: what the last `clear_buffer` cut off; its `seconds` are the position that `AvatarRunner` reports
        self.last_interruption: Interruption | None = None

    @property
    def presenter(self) -> Presenter:
        """The presenter; its `element` has properties and signals for states and gestures."""
        return self._presenter

    async def start(self) -> None:
        """Starts the presenter. Raises `PresenterError` if that fails."""
        await self._presenter.start()

    def options(self, sample_rate: int = 24000, channels: int = 1) -> AvatarOptions:
        """What an `AvatarRunner` must be told: the avatar's size and rate, and the format of the sound that will be pushed."""
        width, height = self._presenter.size
        return AvatarOptions(
            video_width=width,
            video_height=height,
            video_fps=self._presenter.fps,
            audio_sample_rate=sample_rate,
            audio_channels=channels,
        )

    async def push_audio(self, frame: rtc.AudioFrame | AudioSegmentEnd) -> None:
        """Appends sound, or ends the segment. Waits while enough is under way."""
        if isinstance(frame, AudioSegmentEnd):
            self._presenter.finish()
        else:
            await self._presenter.speak(frame.data.cast("B"), frame.sample_rate, frame.num_channels)

    async def clear_buffer(self) -> None:
        """Falls silent. Returns when the runner has got the last sample, so that the position it reports is exact."""
        self.last_interruption = await self._presenter.interrupt()

    def __aiter__(self):
        return self

    async def __anext__(self) -> rtc.VideoFrame | rtc.AudioFrame | AudioSegmentEnd:
        item = await anext(self._presenter)
        if isinstance(item, Picture):
            return rtc.VideoFrame(item.width, item.height, TYPES[item.format], item.data)
        if isinstance(item, Sound):
            return rtc.AudioFrame(item.data, item.rate, item.channels, item.samples)
        return AudioSegmentEnd()

    async def aclose(self) -> None:
        """Stops the presenter. May be called more than once."""
        await self._presenter.aclose()


class AvatarSession(BaseAvatarSession):
    """The avatar of an agent, painted in the agent's own process and published by its own participant.

    avatar, format, properties: as of `LipsyncGenerator`.
    sample_rate: of the sound that is published, in Hz; the agent's text-to-speech is resampled to it.
    """

    def __init__(self, avatar="iris", *, format="I420", properties=None, sample_rate: int = 24000) -> None:
        super().__init__()
        self._generator = LipsyncGenerator(avatar, format=format, properties=properties)
        self._sample_rate = sample_rate
        self._runner: AvatarRunner | None = None

    @property
    def avatar_identity(self) -> str:
        """The agent's own, which publishes the tracks."""
        return self._room.local_participant.identity if self._room is not None else ""

    @property
    def provider(self) -> str:
        return "lipsync"

    @property
    def presenter(self) -> Presenter:
        """The presenter; its `element` has properties and signals for states and gestures."""
        return self._generator.presenter

    async def start(self, agent_session: AgentSession, room: rtc.Room) -> None:
        """Puts the avatar between the agent's speech and the room. Call it before `agent_session.start`."""
        await super().start(agent_session, room)
        try:
            await self._generator.start()
            heard = QueueAudioOutput(sample_rate=self._sample_rate, wait_playback_start=True)
            options = self._generator.options(self._sample_rate)
            self._runner = AvatarRunner(room, audio_recv=heard, video_gen=self._generator, options=options)
            await self._runner.start()
        except BaseException:
            await self.aclose()
            raise
        agent_session.output.replace_audio_tail(heard)

    async def aclose(self) -> None:
        """Ends the avatar; the room and its participant, which are the agent's, stay."""
        # The base class removes the participant that publishes the avatar, which here is the agent.
        room, self._room = self._room, None
        if room is not None:
            room.off("connection_state_changed", self._on_connection_state_changed)
        await super().aclose()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.aclose()
        await self._generator.aclose()
