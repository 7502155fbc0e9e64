# SPDX-License-Identifier: MPL-2.0
"""Train a full-size SyncTalk_2D network (12.19 M parameters, 4.89 GMAC) on filmed footage.

    python train_fullsize.py --footage me --minutes 600
    python train_fullsize.py --footage me --export avatars/me-fullsize     # writes the avatar, with the frames of the video

It is slower to train and to run than the kit's own painter. It can serve as a teacher, and measurements of reduced precision
(int8, float16) are meaningful only with trained weights. Its audio input is the rows of the kit's encoder.
Checkpoint: fullsize.pt in the folder; running again resumes from it.
"""

import argparse
from pathlib import Path

import cv2
import export
import footage
import mel
import numpy as np
import torch
import train_encoder
import trainer
from common import NET_SIDE, read_wav, resample
from nets import EMBEDDING, ROWS
from torch import nn
from tqdm import tqdm

BATCH = 2
WIDTHS = (32, 64, 128, 256, 512)
MASK = (slice(5, 310), slice(5, 315))  # rows, columns of the target frame that are masked in the input


class Inverted(nn.Module):
    """SyncTalk_2D's inverted residual: 1x1 expansion to twice the channels, 3x3 depthwise, 1x1 projection."""

    def __init__(self, inputs, outputs, stride=1, residual=False):
        super().__init__()
        hidden = inputs * 2
        self.residual = residual
        self.layers = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(),
            nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
        )  # fmt: skip

    def forward(self, x):
        return x + self.layers(x) if self.residual else self.layers(x)


def double(inputs, outputs, stride=1):
    return nn.Sequential(Inverted(inputs, outputs, stride), Inverted(outputs, outputs, residual=True))


def plain(inputs, outputs, stride=1, pad=1):
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, pad), nn.BatchNorm2d(outputs), nn.ReLU())


class FullSize(nn.Module):
    """`input` [N, 6, 320, 320]: another frame's face and the masked face, BGR in [0, 1]; `audio` [N, 32, 16, 16]."""

    def __init__(self):
        super().__init__()
        a, b, c, d, e = WIDTHS
        self.enter = Inverted(6, a)
        self.down = nn.ModuleList(double(i, o, 2) for i, o in ((a, a), (a, b), (b, c), (c, d), (d, e)))
        self.hear = nn.Sequential(
            Inverted(32, 64), Inverted(64, 128), plain(128, 256), Inverted(256, 256, residual=True),
            plain(256, 512, stride=2, pad=3), Inverted(512, 512, residual=True), Inverted(512, 512, residual=True),
        )  # fmt: skip
        self.fuse = nn.Sequential(double(2 * e, e), double(e, d))
        self.up = nn.ModuleList(double(i, o) for i, o in ((2 * d, c), (2 * c, b), (2 * b, a), (2 * a, a), (2 * a, a // 2)))
        self.paint = nn.Conv2d(a // 2, 3, 1)

    def forward(self, input, audio):  # noqa: A002 - the names are the ONNX inputs'
        skips = [self.enter(input)]
        for down in self.down:
            skips.append(down(skips[-1]))
        x = self.fuse(torch.cat([skips.pop(), self.hear(audio)], 1))
        for up in self.up:
            x = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            x = up(torch.cat([skips.pop(), x], 1))
        return torch.sigmoid(self.paint(x))


class Film:
    """Faces and contexts of every frame, as SyncTalk_2D trains with them."""

    def __init__(self, folder):
        audio, rate = read_wav(folder / "aud.wav")
        audio = resample(audio, rate, mel.SAMPLE_RATE)
        frames = len(audio) * mel.FPS // mel.SAMPLE_RATE
        with torch.no_grad():
            rows = train_encoder.load().encoder(mel.windows(mel.mel_spectrogram(torch.from_numpy(audio)), frames))
        self.contexts = mel.contexts(rows).reshape(-1, ROWS * EMBEDDING // 256, 16, 16)
        pictures = sorted((folder / "full_body_img").glob("*.jpg"), key=lambda path: int(path.stem))[:frames]
        self.faces = np.stack([
            footage.network_picture(cv2.imread(str(p)), footage.face_rectangle(folder / "landmarks" / f"{p.stem}.lms"))
            for p in tqdm(pictures, desc="reading faces")
        ])  # fmt: skip
        self.learn = int(len(self.faces) * (1 - footage.HELD_SHARE))

    def tensors(self, frames, others):
        faces = torch.from_numpy(self.faces[frames]).permute(0, 3, 1, 2).float() / 255
        masked = faces.clone()
        masked[:, :, MASK[0], MASK[1]] = 0
        other = torch.from_numpy(self.faces[others]).permute(0, 3, 1, 2).float() / 255
        both = torch.cat([other, masked], 1).to(trainer.DEVICE).contiguous(memory_format=torch.channels_last)
        return both, self.contexts[frames].to(trainer.DEVICE), faces.to(trainer.DEVICE)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    trainer.add_arguments(parser, steps=60_000, rate=1e-3)
    parser.add_argument("--footage", type=Path, required=True)
    parser.add_argument("--export", type=Path, metavar="AVATAR", help="write an avatar from the checkpoint instead")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    checkpoint = arguments.footage / "fullsize.pt"
    network = FullSize().to(trainer.DEVICE, memory_format=torch.channels_last)
    if arguments.export:
        network.load_state_dict(torch.load(checkpoint, map_location=trainer.DEVICE)["average"])
        write_avatar(network.cpu().eval(), arguments.footage, arguments.export)
        return
    film = Film(arguments.footage)

    def loss(step):
        rng = np.random.default_rng([17, step])
        frames, others = rng.integers(film.learn, size=(2, BATCH))
        both, audio, wanted = film.tensors(frames, others)
        with trainer.half_precision():
            painted = network(both, audio)
        error = painted.float() - wanted
        return error.abs().mean() + error[:, :, MASK[0], MASK[1]].abs().mean()

    @torch.no_grad()
    def judge(weights):
        copy = FullSize().to(trainer.DEVICE)
        copy.load_state_dict(weights)
        frames = np.arange(film.learn, len(film.faces))
        both, audio, wanted = film.tensors(frames, frames)
        error = torch.cat([copy.eval()(b, a) - w for b, a, w in zip(both.split(4), audio.split(4), wanted.split(4))])
        return f"held-out mouths {-10 * torch.log10((error[:, :, 80:240, 80:240] ** 2).mean((1, 2, 3))).mean():.2f} dB"

    trainer.train(network, checkpoint, arguments, loss, judge, judge_every=500)


def write_avatar(network, film, folder):
    folder.mkdir(parents=True, exist_ok=True)
    export.copy_film(film, folder, most=250)
    export.write(train_encoder.load().encoder, folder / "audio_encoder.onnx", {"mel": torch.randn(2, 1, 80, 16)}, "emb")
    pair = {"input": torch.rand(2, 6, NET_SIDE, NET_SIDE), "audio": torch.randn(2, 32, 16, 16)}
    export.write(network, folder / "generator.onnx", pair, "output")
    about = {"title": f"{folder.name}, full-size", "licence": "all rights reserved", "more": ""}
    (folder / "avatar.toml").write_text(export.AVATAR_TOML.format(**about))


if __name__ == "__main__":
    main()
