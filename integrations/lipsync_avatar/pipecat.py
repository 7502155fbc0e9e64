# SPDX-License-Identifier: MPL-2.0
"""The presenter as a processor of Pipecat: put it between the text-to-speech and the output transport."""

import asyncio

from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    OutputImageRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor, FrameProcessorSetup

from .presenter import Interruption, Picture, Presenter, PresenterError, Sound

FORMATS = ("RGB", "RGBA")


class LipsyncProcessor(FrameProcessor):
    """Speaks the `TTSAudioRawFrame`s that come in.

    They go on in real time, with an `OutputImageRawFrame` for each frame of video. A `TTSStoppedFrame` is held until all before it
    has been spoken, and so is an `EndFrame`. An `InterruptionFrame` drops what is being said, and what was held with it. All other
    frames pass. If the presenter fails, the sound goes on without a face.

    avatar, properties: as of `Presenter`.
    format: of the pictures, "RGB" or "RGBA".
    sync_with_audio: whether the transport shows each picture when it has sent the sound before it, rather than at once. Then set
        `video_out_is_live=False` in its parameters, else `True`.
    presenter: one of your own in the place of avatar, format and properties.
    """

    def __init__(
        self,
        avatar="iris",
        *,
        format: str = "RGB",
        properties=None,
        sync_with_audio: bool = False,
        presenter: Presenter | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self._presenter = presenter or Presenter(avatar, format=format, properties=properties)
        if self._presenter.format not in FORMATS:
            known = " or ".join(FORMATS)
            raise PresenterError(f'Pipecat takes no pictures of the format "{self._presenter.format}": use {known}')
        self._sync_with_audio = sync_with_audio
        self._failure: PresenterError | None = None
        self._task: asyncio.Task | None = None
        # The frame that the sound of an utterance came in, and the one that ends it.
        self._spoken: dict[str, TTSAudioRawFrame] = {}
        self._held: dict[str, TTSStoppedFrame] = {}
        self._context: str | None = None
        #: what the last `InterruptionFrame` cut off, and how much of it had been sent on
        self.last_interruption: Interruption | None = None

    @property
    def presenter(self) -> Presenter:
        """The presenter; its `element` has properties and signals for states and gestures."""
        return self._presenter

    async def setup(self, setup: FrameProcessorSetup) -> None:
        """Starts the presenter."""
        await super().setup(setup)
        try:
            await self._presenter.start()
        except PresenterError as failure:
            self._failure = failure

    async def cleanup(self) -> None:
        """Stops the presenter, if that has not been done."""
        await super().cleanup()
        await self._stop()

    async def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            await self.cancel_task(task)
        await self._presenter.aclose()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """See the class."""
        await super().process_frame(frame, direction)
        if isinstance(frame, StartFrame):
            await self.push_frame(frame, direction)
            if self._failure is None:
                self._task = self.create_task(self._send())
            else:
                await self._report(self._failure)
        elif isinstance(frame, CancelFrame):
            await self._stop()
            await self.push_frame(frame, direction)
        elif self._failure is not None or self._task is None:
            await self.push_frame(frame, direction)
        elif isinstance(frame, InterruptionFrame):
            await self._interrupt()
            await self.push_frame(frame, direction)
        elif direction is FrameDirection.DOWNSTREAM and isinstance(frame, TTSAudioRawFrame):
            await self._speak(frame)
        elif direction is FrameDirection.DOWNSTREAM and isinstance(frame, TTSStoppedFrame):
            name = self._finish()
            if name is None:
                await self.push_frame(frame, direction)
            else:
                self._held[name] = frame
        elif isinstance(frame, EndFrame):
            self._finish()
            await self._drain()
            await self._stop()
            await self.push_frame(frame, direction)
        else:
            await self.push_frame(frame, direction)

    async def _speak(self, frame: TTSAudioRawFrame) -> None:
        if frame.context_id != self._context:
            self._finish()
            self._context = frame.context_id
        try:
            name = await self._presenter.speak(frame.audio, frame.sample_rate, frame.num_channels)
        except PresenterError as failure:
            await self._fail(failure)
            await self.push_frame(frame)
            return
        if name is not None:
            self._spoken.setdefault(name, frame)

    def _finish(self) -> str | None:
        try:
            return self._presenter.finish()
        except PresenterError:
            return None

    async def _interrupt(self) -> None:
        try:
            # The transport cuts the sound off anyway; what came behind would be heard as the beginning of something new.
            self.last_interruption = await self._presenter.interrupt(drain=False)
        except PresenterError as failure:
            await self._fail(failure)
        self._spoken.clear()
        self._held.clear()

    async def _drain(self) -> None:
        try:
            await self._presenter.drained()
        except PresenterError as failure:
            await self._fail(failure)

    async def _fail(self, failure: PresenterError) -> None:
        if self._failure is None:
            self._failure = failure
            await self._report(failure)
            # Nobody waits for them any more.
            held, self._held = list(self._held.values()), {}
            for frame in held:
                await self.push_frame(frame)

    async def _report(self, failure: PresenterError) -> None:
        await self.push_error(str(failure), exception=failure, force_treat_as_permanent=True)

    async def _send(self) -> None:
        """Sends on what comes out of the presenter."""
        try:
            async for item in self._presenter:
                if isinstance(item, Picture):
                    image = OutputImageRawFrame(item.data, (item.width, item.height), item.format)
                    image.sync_with_audio = self._sync_with_audio
                    await self.push_frame(image)
                elif isinstance(item, Sound):
                    await self._send_sound(item)
                else:
                    self._spoken.pop(item.utterance, None)
                    stopped = self._held.pop(item.utterance, None)
                    if stopped is not None:
                        await self.push_frame(stopped)
        except PresenterError as failure:
            await self._fail(failure)

    async def _send_sound(self, sound: Sound) -> None:
        came = self._spoken.get(sound.utterance)
        frame = TTSAudioRawFrame(sound.data, sound.rate, sound.channels, context_id=came.context_id if came else None)
        if came is not None:
            frame.transport_destination = came.transport_destination
        await self.push_frame(frame)
