# SPDX-License-Identifier: MPL-2.0
"""The shipped avatar end to end, without the plugin: WAV + models/iris -> MP4 and contact sheet.

    python preview.py speech.wav out.mp4 [--sheet sheet.png] [--close-up close.png]

Computes the same as the plugin: mel spectrogram, encoder windows, 16-row contexts, crop, paste,
truncation to 8 bits, ping-pong playback.  Needs ffmpeg for the MP4.
"""

import argparse
import subprocess
import tomllib
from pathlib import Path

import cv2
import frames
import mel
import numpy as np
import onnxruntime
import torch
from common import AVATAR, read_wav, resample
from tqdm import tqdm

NET, MARGIN = 320, 4


class Avatar:
    def __init__(self, folder, threads=2):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.encoder, self.generator = (
            onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
            for name in ("audio_encoder.onnx", "generator.onnx")
        )
        self.frames, self.crops = frames.read(folder)
        self.windows = tomllib.loads((folder / "avatar.toml").read_text()).get("audio", {}).get("windows", "mel-frames")

    def ping_pong(self, number):
        last = len(self.frames) - 1
        place = number % (2 * last)
        return place if place <= last else 2 * last - place

    def contexts(self, audio):
        """16 kHz audio -> generator audio input for every frame, [count, 32, 16, 16]."""
        audio, count = torch.from_numpy(audio), len(audio) * mel.FPS // mel.SAMPLE_RATE

        def encode(windows):
            return torch.from_numpy(self.encoder.run(None, {"mel": windows.numpy()})[0])

        if self.windows == "averaged":
            rows = mel.rows(encode, mel.mel_spectrogram(audio), count)
        elif self.windows == "exact":
            rows = [encode(mel.windows(mel.mel_spectrogram(audio), torch.arange(count) * mel.PHASES))]
        else:
            rows = [encode(mel.floored_windows(mel.mel_spectrogram(audio, mel.HOP), count))]
        return mel.contexts(*rows).reshape(count, 32, 16, 16).numpy()

    def paint(self, number, context):
        """The finished frame, BGR."""
        frame = self.frames[self.ping_pong(number)].copy()
        x, y, width, height = self.crops[self.ping_pong(number)]
        side = NET + 2 * MARGIN
        crop = cv2.resize(frame[y : y + height, x : x + width], (side, side), interpolation=cv2.INTER_CUBIC)
        inner = (slice(MARGIN, MARGIN + NET), slice(MARGIN, MARGIN + NET))
        face = crop[inner].astype(np.float32) / 255
        masked = face.copy()
        masked[5:310, 5:315] = 0
        planes = np.concatenate([face, masked], axis=2).transpose(2, 0, 1)[None]
        painted = self.generator.run(None, {"input": planes, "audio": context[None]})[0][0]
        crop[inner] = (painted * 255).astype(np.uint8).transpose(1, 2, 0)
        frame[y : y + height, x : x + width] = cv2.resize(crop, (width, height), interpolation=cv2.INTER_CUBIC)
        return frame


def load_audio(path):
    audio, rate = read_wav(path)
    return resample(audio, rate, mel.SAMPLE_RATE)


def tile(pictures, columns):
    blank = np.zeros_like(pictures[0])
    pictures = pictures + [blank] * (-len(pictures) % columns)
    return np.concatenate([np.concatenate(pictures[i : i + columns], 1) for i in range(0, len(pictures), columns)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wav", type=Path)
    parser.add_argument("mp4", type=Path)
    parser.add_argument("--avatar", type=Path, default=AVATAR)
    parser.add_argument("--sheet", type=Path, help="whole frames, twelve of the clip")
    parser.add_argument("--close-up", type=Path, help="mouths of 40 successive frames")
    parser.add_argument("--start", type=int, default=25, help="first frame of the close-up")
    arguments = parser.parse_args()

    avatar = Avatar(arguments.avatar)
    contexts = avatar.contexts(load_audio(arguments.wav))
    encode = ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", "1280x720"]
    encode += ["-r", str(mel.FPS), "-i", "-", "-i", str(arguments.wav), "-pix_fmt", "yuv420p", "-crf", "18"]
    encode += ["-shortest", str(arguments.mp4)]
    whole, mouths = [], []
    with subprocess.Popen(encode, stdin=subprocess.PIPE) as process:
        for number, context in enumerate(tqdm(contexts)):
            frame = avatar.paint(number, context)
            process.stdin.write(frame.tobytes())
            if number % max(1, len(contexts) // 12) == 0 and len(whole) < 12:
                whole.append(cv2.resize(frame, (640, 360), interpolation=cv2.INTER_AREA))
            if arguments.start <= number < arguments.start + 40:
                x, y, _, _ = avatar.crops[avatar.ping_pong(number)]
                mouths.append(frame[y + 140 : y + 320, x + 44 : x + 284])
        process.stdin.close()
    if arguments.sheet:
        cv2.imwrite(str(arguments.sheet), tile(whole, 3))
    if arguments.close_up:
        cv2.imwrite(str(arguments.close_up), tile(mouths, 8))


if __name__ == "__main__":
    main()
