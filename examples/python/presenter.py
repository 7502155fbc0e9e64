#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""A presenter that speaks what you type, live, and that you can interrupt.

Type a line and press Enter: the presenter says it. Press Enter alone, also in the middle of a sentence: the presenter stops at
once, and you are told how much has been said. Ctrl-D ends the program when all has been said, Ctrl-C at once.

What it needs on Debian, beside the plugin:

    sudo apt install python3-gi gir1.2-gst-plugins-base-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly flite

How to run it (in a checkout, after `make`; after `make install` without the variable):

    GST_PLUGIN_PATH=$PWD/target/plugin python3 examples/python/presenter.py
    GST_PLUGIN_PATH=$PWD/target/plugin python3 examples/python/presenter.py --avatar theo --out film.mkv

flite or espeak-ng, whichever is installed, makes speech of the text; without either, each line is answered with the sample
recording. To use a text-to-speech of your own, replace `synthesize`.
"""

import argparse
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, Gst

SAMPLE = Path(__file__).resolve().parent.parent / "sample.wav"

# appsrc gets speech as fast as it is made; lipsyncsrc speaks it in real time, and gives the sound back in step with the
# picture. There is a queue behind each of its pads, so that neither stream waits for the other.
PIPELINE = """
    appsrc name=voice format=time ! presenter.sink
    lipsyncsrc name=presenter
    presenter.src ! queue ! videoconvert ! {picture}
    presenter.audio ! queue ! audioconvert ! audioresample ! {sound}
"""
WINDOW = {"picture": "autovideosink", "sound": "autoaudiosink"}
# The sound's format is said, so that it stays the same when speech follows silence.
FILE = {
    "picture": "x264enc tune=zerolatency speed-preset=ultrafast ! queue ! film.",
    "sound": "audio/x-raw,rate=48000,channels=2 ! opusenc ! queue ! film. matroskamux name=film ! filesink name=file",
}


def synthesize(text):
    """Makes speech of a text. Returns its rate in Hz and its samples: 16 bits, mono, little-endian."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.wav"
        if shutil.which("flite"):
            subprocess.run(["flite", "-voice", "slt", "-t", text, "-o", file], check=True)
        elif shutil.which("espeak-ng"):
            subprocess.run(["espeak-ng", "-w", file, "--", text], check=True)
        else:
            file = SAMPLE
        with wave.open(str(file)) as sound:
            if (sound.getsampwidth(), sound.getnchannels()) != (2, 1):
                raise ValueError(f"{file}: the samples are not 16 bits, mono")
            return sound.getframerate(), sound.readframes(sound.getnframes())


class Utterance:
    """What is said in answer to one line."""

    def __init__(self, number):
        self.id = f"answer-{number}"
        self.has_started = False
        self.is_interrupted = False


class Program:
    """Everything but the text-to-speech runs in the main loop's thread, so nothing here needs a lock."""

    def __init__(self, avatar, out):
        self.pipeline = Gst.parse_launch(PIPELINE.format(**(FILE if out else WINDOW)))
        self.voice = self.pipeline.get_by_name("voice")
        self.presenter = self.pipeline.get_by_name("presenter")
        self.presenter.set_property("avatar", avatar)
        if out:
            self.pipeline.get_by_name("file").set_property("location", out)
        self.loop = GLib.MainLoop()
        self.error = None
        self.count = 0
        self.open = {}  # utterances that have not ended, by their ids
        self.no_more_lines = False
        # One thread, so that one text comes after the other.
        self.text_to_speech = ThreadPoolExecutor(max_workers=1)

    def run(self):
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message", self.on_message)
        GLib.unix_signal_add(GLib.PRIORITY_DEFAULT, signal.SIGINT, self.finish)
        self.pipeline.set_state(Gst.State.PLAYING)
        threading.Thread(target=self.read_lines, daemon=True).start()
        self.loop.run()
        self.pipeline.set_state(Gst.State.NULL)
        self.text_to_speech.shutdown(cancel_futures=True)
        return self.error

    def read_lines(self):
        """The thread that waits for the keyboard. What it reads goes to the main loop."""
        for line in sys.stdin:
            GLib.idle_add(self.on_line, line.strip())
        GLib.idle_add(self.on_end_of_lines)

    # ---- what the user does

    def on_line(self, line):
        if line:
            self.count += 1
            utterance = Utterance(self.count)
            self.open[utterance.id] = utterance
            self.text_to_speech.submit(self.speak, utterance, line)
        else:
            self.interrupt()
        return GLib.SOURCE_REMOVE

    def on_end_of_lines(self):
        self.no_more_lines = True
        self.finish_if_done()
        return GLib.SOURCE_REMOVE

    def interrupt(self):
        # The answer tells what came out of the pad `audio`, to the sample.
        answer = self.presenter.emit("interrupt")
        # The presenter has dropped all that it had. What it has not taken yet waits in appsrc: a flush drops that.
        self.voice.send_event(Gst.Event.new_flush_start())
        self.voice.send_event(Gst.Event.new_flush_stop(False))
        # And what has not been made yet is not to be made.
        for utterance in self.open.values():
            utterance.is_interrupted = True
        self.open.clear()
        seconds = answer.get_value("duration") / Gst.SECOND
        if answer.has_field("utterance"):
            cut = answer.get_string("utterance")
            print(f"interrupt: {cut} after {answer.get_value('samples')} samples, {seconds:.2f} s", flush=True)
        else:
            print("interrupt: nothing was being said", flush=True)
        self.finish_if_done()

    def finish_if_done(self):
        if self.no_more_lines and not self.open:
            self.finish()

    def finish(self):
        """Ends the stream: a file gets its index, and the message EOS ends the main loop."""
        self.presenter.send_event(Gst.Event.new_eos())
        return GLib.SOURCE_REMOVE

    # ---- from text to the presenter

    def speak(self, utterance, text):
        """Sentence by sentence, so that the first is heard while the second is made. Runs in the thread of the text-to-speech."""
        try:
            for sentence in re.findall(r"[^.!?]+[.!?]*", text):
                if utterance.is_interrupted:
                    break
                GLib.idle_add(self.push, utterance, *synthesize(sentence.strip()))
        except Exception as error:  # whatever a text-to-speech of your own raises
            print(f"text-to-speech: {error!r}", file=sys.stderr)
        finally:
            GLib.idle_add(self.push_end, utterance)

    def push(self, utterance, rate, samples):
        if utterance.is_interrupted:
            return GLib.SOURCE_REMOVE
        if not utterance.has_started:
            utterance.has_started = True
            caps = f"audio/x-raw,format=S16LE,layout=interleaved,channels=1,rate={rate}"
            self.voice.set_property("caps", Gst.Caps.from_string(caps))
            self.mark("start", utterance)
        self.voice.emit("push-buffer", Gst.Buffer.new_wrapped(samples))
        return GLib.SOURCE_REMOVE

    def push_end(self, utterance):
        if utterance.has_started and not utterance.is_interrupted:
            # That was all: nothing waits for more of it.
            self.mark("end", utterance)
        elif not utterance.has_started:
            self.open.pop(utterance.id, None)
            self.finish_if_done()
        return GLib.SOURCE_REMOVE

    def mark(self, what, utterance):
        """Says in the stream of sound where an utterance begins or ends."""
        structure = Gst.Structure.new_empty(f"lipsync-utterance-{what}")
        structure.set_value("id", utterance.id)
        self.voice.send_event(Gst.Event.new_custom(Gst.EventType.CUSTOM_DOWNSTREAM, structure))

    # ---- what the pipeline tells

    def on_message(self, _bus, message):
        if message.type == Gst.MessageType.ERROR:
            # Of lipsyncsrc always one sentence with the file or value at fault and the remedy.
            error, _ = message.parse_error()
            self.error = f"{message.src.get_name()}: {error.message}"
            self.loop.quit()
        elif message.type == Gst.MessageType.WARNING:
            error, _ = message.parse_warning()
            print(f"warning: {error.message}", file=sys.stderr)
        elif message.type == Gst.MessageType.EOS:
            self.loop.quit()
        elif message.type == Gst.MessageType.LATENCY:
            self.pipeline.recalculate_latency()
        elif message.type == Gst.MessageType.ELEMENT and message.src == self.presenter:
            self.on_told(message.get_structure())

    def on_told(self, told):
        name = told.get_name()
        if name == "lipsync-utterance-start":
            print(f"start: {told.get_string('id')}", flush=True)
        elif name == "lipsync-utterance-end":
            seconds = told.get_value("duration") / Gst.SECOND
            print(f"end: {told.get_string('id')} {told.get_string('reason')} after {seconds:.2f} s", flush=True)
            self.open.pop(told.get_string("id"), None)
            self.finish_if_done()
        elif name == "lipsync-drained":
            print("silent: all has been said", flush=True)


def main():
    parser = argparse.ArgumentParser(description="A presenter that speaks what you type; Enter alone interrupts.")
    parser.add_argument("--avatar", default="iris", help="name or folder of the avatar (default: iris)")
    parser.add_argument("--out", metavar="FILE.mkv", help="write a video instead of opening a window")
    arguments = parser.parse_args()
    Gst.init(None)
    if not Gst.ElementFactory.find("lipsyncsrc"):
        return "GStreamer finds no element lipsyncsrc. Install the plugin, or set GST_PLUGIN_PATH to its folder"
    try:
        return Program(arguments.avatar, arguments.out).run()
    except GLib.Error as error:  # an element of the pipeline is missing
        return error.message


if __name__ == "__main__":
    sys.exit(main())
