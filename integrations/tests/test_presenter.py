# SPDX-License-Identifier: MPL-2.0
"""The presenter itself: every sample, in step, exact when it is interrupted, and nothing left behind."""

import asyncio
import gc
import os
import subprocess
import sys
import time

import pytest
from gi.repository import Gst, GstVideo

import lipsync_avatar.presenter
from conftest import (
    RATE,
    ROOT,
    fades,
    noise,
    own_threads,
    run,
    sound_of,
    take_until_end,
    threads,
    until,
)
from lipsync_avatar.presenter import (
    IDLE_PICTURES,
    PLANES,
    SECOND,
    Picture,
    PresenterError,
    Sound,
    UtteranceEnd,
    _alike,
    _pack,
)

FRAME = SECOND // 25


def Presenter(avatar, *, properties=None, **keywords):
    """One that waits for as little sound as it can, so that tests take less time."""
    properties = {"lookahead": 92_500_000} | (properties or {})
    return lipsync_avatar.presenter.Presenter(avatar, properties=properties, **keywords)


@pytest.mark.parametrize(("rate", "channels"), [(24000, 1), (48000, 2)])
def test_what_is_pushed_comes_out_to_the_sample(avatar, rate, channels):
    silence = bytes(2 * channels * rate // 3)
    first = silence + noise(0.7, rate, channels, seed=1) + silence
    second = noise(0.3, rate, channels, seed=2)
    # Pieces that are no whole frames of video.
    size = 2 * channels * 1234

    async def main():
        async with Presenter(avatar) as presenter:
            for sound in (first, second):
                for start in range(0, len(sound), size):
                    await presenter.speak(sound[start : start + size], rate, channels)
                presenter.finish()
            return await take_until_end(presenter, 2)

    taken = run(main())
    assert sound_of(taken, "1") == first
    assert sound_of(taken, "2") == second
    ends = [item for item in taken if isinstance(item, UtteranceEnd)]
    samples = [len(sound) // (2 * channels) for sound in (first, second)]
    assert ends == [UtteranceEnd("1", samples[0], rate), UtteranceEnd("2", samples[1], rate)]
    check_steps(taken)


def check_steps(taken):
    """That sound comes with the picture that it belongs to, and ends right behind their last samples."""
    picture = before = None
    heard_until = 0
    # Times are those of whole samples, rounded.
    sample = SECOND // RATE + 1
    for item in taken:
        if isinstance(item, Picture):
            # A machine that has much else to do leaves frames out.
            assert picture is None or (item.time > picture.time and (item.time - picture.time) % FRAME == 0)
            assert heard_until <= item.time + sample
            picture = item
        elif isinstance(item, Sound):
            assert picture.time - sample <= item.time
            heard_until = item.time + item.samples * SECOND // item.rate
        else:
            assert isinstance(before, Sound)
            assert before.utterance == item.utterance
        before = item


def test_a_hole_in_the_sound_is_no_part_of_it(avatar):
    sounds = [noise(0.4, seed=1), bytes(4800) + noise(0.3, seed=2) + bytes(2400), bytes(960) + noise(0.4, seed=3)]

    async def main():
        async with Presenter(avatar) as presenter:
            taken = []
            for number, sound in enumerate(sounds):
                await presenter.speak(sound, RATE)
                # So much of it has been heard, and frames without any, that the element had no more.
                heard, idle = sum(map(len, sounds[: number + 1])), 0
                while len(sound_of(taken)) < heard or idle < 3:
                    taken.append(await anext(presenter))
                    idle = idle + 1 if isinstance(taken[-1], Picture) else 0
            presenter.finish()
            return taken + await take_until_end(presenter)

    taken = run(main())
    assert sound_of(taken) == b"".join(sounds)
    assert isinstance(taken[-1], UtteranceEnd)
    assert taken[-1].samples == len(b"".join(sounds)) // 2


@pytest.mark.parametrize("frames", [0, 8])
def test_an_interruption_is_exact_and_what_follows_is_whole(avatar, frames):
    sound, next_sound = noise(15, seed=1), noise(0.4, seed=2)

    async def main():
        async with Presenter(avatar) as presenter:
            await presenter.speak(sound, RATE)
            taken, after = [], []
            # A few frames into the utterance, between its beginning and its end.
            while sum(isinstance(item, Sound) for item in taken) <= 2 * frames:
                taken.append(await anext(presenter))

            async def listen():
                async for item in presenter:
                    after.append(item)
                    if isinstance(item, UtteranceEnd):
                        return

            listening = asyncio.ensure_future(listen())
            # It is waited for until whoever listens has got all.
            await asyncio.sleep(0)
            interruption = await presenter.interrupt()
            taken += after
            after.clear()
            name = await presenter.speak(next_sound, RATE)
            presenter.finish()
            await listening
            return taken, interruption, name, after

    taken, interruption, name, after = run(main())
    heard = sound_of(taken)
    assert interruption.utterance == "1"
    assert interruption.samples == len(heard) // 2
    assert interruption.seconds == interruption.samples / RATE
    assert 0 < interruption.samples < len(sound) // 2
    whole = _alike(heard, sound, 2)
    assert fades(heard, whole)
    assert (name, sound_of(after)) == ("2", next_sound)


def test_what_has_not_begun_and_what_has_ended_is_not_cut_off(avatar):
    async def main():
        async with Presenter(avatar) as presenter:
            listening = asyncio.ensure_future(take_until_end(presenter))
            await asyncio.sleep(0)
            nothing = await presenter.interrupt()
            await presenter.speak(noise(0.2), RATE)
            waiting = await presenter.interrupt()
            await presenter.speak(noise(0.2), RATE)
            presenter.finish()
            await listening
            assert presenter.finish() is None
            return nothing, waiting, await presenter.interrupt()

    nothing, waiting, ended = run(main())
    assert (nothing.utterance, nothing.samples, nothing.seconds) == (None, 0, 0)
    assert (waiting.utterance, waiting.samples) == ("1", 0)
    assert (ended.utterance, ended.samples) == (None, 0)


def test_without_draining_what_was_taken_is_the_position(avatar):
    async def main():
        async with Presenter(avatar) as presenter:
            await presenter.speak(noise(2), RATE)
            taken = []
            while len(sound_of(taken)) < RATE:
                taken.append(await anext(presenter))
            interruption = await presenter.interrupt(drain=False)
            await presenter.speak(noise(0.2, seed=5), RATE)
            presenter.finish()
            return taken, interruption, await take_until_end(presenter)

    taken, interruption, after = run(main())
    assert interruption.samples == len(sound_of(taken)) // 2
    assert sound_of(after) == noise(0.2, seed=5)


def test_who_pushes_waits_while_enough_is_under_way(avatar):
    sound = noise(1.2)
    piece = RATE // 5 * 2

    async def main():
        async with Presenter(avatar, max_backlog=0.5) as presenter:
            most = 0

            async def push():
                nonlocal most
                for start in range(0, len(sound), piece):
                    await presenter.speak(sound[start : start + piece], RATE)
                    most = max(most, presenter._under_way())
                presenter.finish()

            pushing = asyncio.ensure_future(push())
            taken = await take_until_end(presenter)
            await pushing
            return taken, most

    taken, most = run(main())
    assert sound_of(taken) == sound
    assert 0.5 <= most < 0.5 + 0.2 + 0.001


def test_an_interruption_frees_who_waits_to_push(avatar):
    async def main():
        async with Presenter(avatar, max_backlog=0.5) as presenter:
            await presenter.speak(noise(0.6), RATE)
            waiting = [asyncio.ensure_future(presenter.speak(noise(0.6), RATE)) for _ in range(2)]
            await asyncio.sleep(0)
            # Nobody listens, so nothing has been heard.
            interruption = await presenter.interrupt()
            assert (interruption.utterance, interruption.samples) == ("1", 0)
            assert await asyncio.gather(*waiting) == [None, None]
            await presenter.speak(noise(0.2, seed=3), RATE)
            presenter.finish()
            return await take_until_end(presenter)

    assert sound_of(run(main())) == noise(0.2, seed=3)


def test_the_presenter_stands_still_for_who_is_far_behind(avatar):
    sound = noise(1)

    async def main():
        async with Presenter(avatar, max_lag=0.4) as presenter:
            await presenter.speak(sound, RATE)
            presenter.finish()
            # Until it has stopped, and for long after that.
            while not presenter._is_paused:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            waiting = sum(isinstance(item, Picture) for item in presenter._ready)
            return waiting, await take_until_end(presenter)

    waiting, taken = run(main())
    assert 10 <= waiting < 50
    assert sound_of(taken) == sound
    check_steps(taken)


def test_a_blocked_event_loop_loses_nothing(avatar):
    sound = noise(1.2)

    async def main():
        async with Presenter(avatar) as presenter:
            await presenter.speak(sound, RATE)
            presenter.finish()
            taken = [await anext(presenter) for _ in range(10)]
            time.sleep(1)  # noqa: ASYNC251
            return taken + await take_until_end(presenter)

    assert sound_of(run(main())) == sound


def test_pictures_that_nobody_takes_do_not_pile_up(avatar):
    async def main():
        async with Presenter(avatar) as presenter:
            seen = presenter._shown_until
            while presenter._shown_until < seen + SECOND:
                await asyncio.sleep(0.01)
            return len(presenter._ready)

    assert run(main()) <= IDLE_PICTURES


@pytest.mark.parametrize("format", sorted(PLANES))
def test_pictures_are_packed(avatar, format):
    async def main():
        async with Presenter(avatar, format=format) as presenter:
            return presenter.size, presenter.fps, await anext(presenter)

    size, fps, picture = run(main())
    assert (size, fps) == ((picture.width, picture.height), 25)
    bytes_of_four = {"I420": 6, "RGB": 12, "RGBA": 16}[format]
    assert len(picture.data) * 4 == picture.width * picture.height * bytes_of_four
    assert len(set(picture.data)) > 20


def test_padding_is_left_out():
    Gst.init(None)
    for format in PLANES:
        info = GstVideo.VideoInfo()
        assert info.set_format(getattr(GstVideo.VideoFormat, format), 53, 37)
        padded = bytearray(b"\xff" * info.size)
        expected = b""
        sizes = [(53, 37), (27, 19), (27, 19)] if format == "I420" else [(53 * len(format), 37)]
        for plane, (width, height) in enumerate(sizes):
            for y in range(height):
                row = bytes((plane * 64 + y + x) % 200 for x in range(width))
                start = info.offset[plane] + y * info.stride[plane]
                padded[start : start + width] = row
                expected += row
        assert _pack(bytes(padded), info, format) == expected


def test_closing_ends_all_who_wait_and_leaves_nothing(avatar):
    gone = []

    async def main():
        presenter = Presenter(avatar, max_backlog=0.2)
        await presenter.start()
        pipeline = presenter._pipeline
        pipeline.weak_ref(lambda: gone.append(True))
        del pipeline
        await presenter.speak(noise(5), RATE)
        pushing = asyncio.ensure_future(presenter.speak(noise(0.4), RATE))

        async def listen():
            return [item async for item in presenter]

        listening = asyncio.ensure_future(listen())
        draining = asyncio.ensure_future(presenter.drained())
        await asyncio.sleep(0.1)
        await asyncio.gather(presenter.aclose(), presenter.aclose())
        await presenter.aclose()
        assert await listening
        await draining
        with pytest.raises(PresenterError, match="not running"):
            await pushing
        assert [item async for item in presenter] == []
        for call in (presenter.finish, lambda: presenter.size):
            with pytest.raises(PresenterError, match="start it first"):
                call()
        with pytest.raises(PresenterError, match="once"):
            await presenter.start()

    run(main())
    # Pools of the libraries keep a few.
    before = threads()
    for _ in range(4):
        run(main())
    gc.collect()
    assert own_threads() == []
    assert len(gone) == 5
    # Threads of the libraries end a moment later.
    until(lambda: threads() <= before)


def test_a_start_may_be_given_up(avatar):
    async def main():
        for _ in range(3):
            presenter = Presenter(avatar)
            starting = asyncio.ensure_future(presenter.start())
            await asyncio.sleep(0)
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
            await presenter.aclose()
            assert presenter.element is None

    run(main())
    assert own_threads() == []


def test_what_is_wrong_is_said(avatar):
    async def fails(*arguments, **keywords):
        with pytest.raises(PresenterError) as caught:
            await Presenter(*arguments, **keywords).start()
        return str(caught.value)

    async def main():
        assert "nowhere" in await fails("/nowhere")
        assert "no-such-property" in await fails(avatar, properties={"no-such-property": 1})
        with pytest.raises(PresenterError, match="NV12"):
            Presenter(avatar, format="NV12")
        with pytest.raises(PresenterError, match="start it first"):
            await Presenter(avatar).speak(b"", RATE)
        async with Presenter(avatar) as presenter:
            with pytest.raises(PresenterError, match="0 channels"):
                await presenter.speak(b"", RATE, 0)
            assert await presenter.speak(b"", RATE) is None

    run(main())
    assert own_threads() == []


def test_a_missing_plugin_is_said():
    code = "import asyncio; from lipsync_avatar.presenter import *; asyncio.run(Presenter().start())"
    # Without a registry GStreamer has none but its own elements.
    environment = os.environ | {"GST_PLUGIN_PATH": "/nowhere", "GST_REGISTRY_DISABLE": "yes"}
    environment["PYTHONPATH"] = str(ROOT / "integrations")
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "no element lipsyncsrc: set GST_PLUGIN_PATH" in ended.stderr


def test_who_is_behind_is_waited_for_and_hears_no_more(avatar):
    async def main():
        async with Presenter(avatar) as presenter:
            await presenter.speak(noise(15), RATE)
            taken = []
            while not isinstance(await anext(presenter), Sound):
                pass
            # In the hands of whoever iterates, who is busy with it while much more comes.
            while presenter._ready_seconds < 0.4:
                await asyncio.sleep(0.01)
            interrupting = asyncio.ensure_future(presenter.interrupt())
            await asyncio.sleep(0.1)
            assert not interrupting.done()
            for _ in range(5):
                taken.append(await anext(presenter))
            return await interrupting, taken

    interruption, taken = run(main())
    assert interruption.utterance == "1"
    assert 0 < interruption.samples <= RATE // 25
    assert not sound_of(taken)


def test_what_is_pushed_during_an_interruption_is_spoken(avatar):
    async def main():
        async with Presenter(avatar) as presenter:
            await presenter.speak(noise(15), RATE)
            taken = []
            while not sound_of(taken):
                taken.append(await anext(presenter))
            # Whoever iterates is busy with a sample of it.
            interrupting = asyncio.ensure_future(presenter.interrupt())
            await asyncio.sleep(0)
            await presenter.speak(noise(0.3, seed=2), RATE)
            presenter.finish()
            taken += await take_until_end(presenter)
            return await interrupting, taken

    interruption, taken = run(main())
    assert interruption.utterance == "1"
    assert interruption.samples == len(sound_of(taken, "1")) // 2
    assert sound_of(taken, "2") == noise(0.3, seed=2)


def test_who_never_comes_back_is_not_waited_for(avatar):
    async def main():
        async with Presenter(avatar) as presenter:
            await presenter.speak(noise(15), RATE)
            while not isinstance(await anext(presenter), Sound):
                pass
            interruption = await presenter.interrupt()
            await presenter.speak(noise(0.3, seed=2), RATE)
            presenter.finish()
            return interruption, await take_until_end(presenter)

    interruption, taken = run(main())
    assert 0 < interruption.samples <= RATE // 25
    assert sound_of(taken) == noise(0.3, seed=2)
