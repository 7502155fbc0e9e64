# SPDX-License-Identifier: MPL-2.0
"""Train the painter of a rendered person: face with a closed mouth + mouth state -> the mouth.

    PERSON=iris python train_generator.py --minutes 20                   # from renders (make faces)
    PERSON=iris python train_generator.py --minutes 20 --from-shipped    # after new renders: it knows the mouth already

Checkpoint: painter.pt in the person's work folder; running again resumes from it.  From films: train_film.py.
"""

import argparse

import numpy as np
import renders
import shipped
import torch
import trainer
from nets import Painter
from torch import nn

BATCH = 6


def importance(change):
    """Loss weights [1, 1, H, W]: 1 where nothing moves, up to 6 at the lips; `change` [H, W] is the mean movement."""
    import cv2

    change = cv2.GaussianBlur(change, (0, 0), 3)
    weight = 1 + 5 * np.clip(change / np.percentile(change, 97), 0, 1)
    return torch.tensor(weight, dtype=torch.float32, device=trainer.DEVICE)[None, None]


def loss_of(painted, wanted, weight):
    """Weighted L1 at three scales, plus L1 on gradients, which keeps lip and teeth edges sharp."""
    error = (painted.float() - wanted) * weight
    loss = error.abs().mean()
    for scale in (2, 4):
        loss = loss + 0.5 * nn.functional.avg_pool2d(error, scale).abs().mean()
    for dy, dx in ((1, 0), (0, 1)):
        gradient = error[:, :, dy:, dx:] - error[:, :, : error.shape[2] - dy, : error.shape[3] - dx]
        loss = loss + gradient.abs().mean()
    return loss


def tensor(pictures):
    """8-bit BGR pictures [N, H, W, 3] -> [N, 3, H, W] in 0 to 1."""
    planes = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
    return planes.to(trainer.DEVICE).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def held_psnr(painter, data):
    """PSNR over the mouth on held-out pictures."""
    errors = []
    for references, states, wanted in data.held_batches():
        with trainer.half_precision():
            painted = painter(tensor(references), torch.tensor(np.stack(states)).to(trainer.DEVICE)).float()
        top, bottom, left, right = data.mouth_region
        error = (painted - tensor(wanted))[:, :, top:bottom, left:right]
        errors += (error**2).mean((1, 2, 3)).tolist()
    return float(np.mean(-10 * np.log10(errors)))


def load(checkpoint):
    weights = torch.load(checkpoint, map_location="cpu")["average"]
    painter = Painter(weights["box"].tolist(), weights["hole"][0, 0].clone())
    painter.load_state_dict(weights)
    return painter.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    trainer.add_arguments(parser, steps=8000, rate=2e-3)
    parser.add_argument("--from-shipped", action="store_true", help="begin with the painter in models/PERSON")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    data = renders.Renders()
    print(data, flush=True)
    weight = importance(data.change())
    painter = Painter(data.box, data.hole)
    if arguments.from_shipped:
        painter.load_state_dict(shipped.generator().painter.state_dict())
    painter = painter.to(trainer.DEVICE, memory_format=torch.channels_last)

    def loss(step):
        references, states, wanted = data.batch(np.random.default_rng([11, step]), BATCH)
        with trainer.half_precision():
            painted = painter(tensor(references), torch.tensor(np.stack(states)).to(trainer.DEVICE))
        return loss_of(painted, tensor(wanted), weight)

    def judge(weights):
        copy = Painter(data.box, data.hole).to(trainer.DEVICE, memory_format=torch.channels_last)
        copy.load_state_dict(weights)
        return f"held-out mouths {held_psnr(copy.eval(), data):.2f} dB"

    trainer.train(painter, data.checkpoint, arguments, loss, judge, judge_every=500)


if __name__ == "__main__":
    main()
