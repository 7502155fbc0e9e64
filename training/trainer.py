# SPDX-License-Identifier: MPL-2.0
"""Common to both trainers: the device, the learning-rate schedule, and checkpoints to resume from."""

import math
import os
import time

import torch
from tqdm import tqdm

SAVE_MINUTES = 2
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def half_precision():
    """bfloat16 if the machine has instructions for it (twice as fast), else float32."""
    able = DEVICE == "cuda" or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(DEVICE, torch.bfloat16, enabled=able)


class Average:
    """An exponential moving average of a module's weights, which is what is used after training."""

    def __init__(self, module, keep=0.998):
        self.values = {k: v.detach().clone() for k, v in module.state_dict().items()}
        self.keep, self.count = keep, 0

    @torch.no_grad()
    def update(self, module):
        self.count += 1
        keep = min(self.keep, (1 + self.count) / (10 + self.count))  # of a short run, only its end
        now = module.state_dict()
        real = [name for name, value in now.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.values[name] for name in real], [now[name] for name in real], 1 - keep)
        for name in now.keys() - set(real):
            self.values[name].copy_(now[name])


def add_arguments(parser, steps, rate):
    parser.add_argument("--steps", type=int, default=steps)
    parser.add_argument("--minutes", type=float, default=1e9, help="anneal and stop by then, regardless of the number of steps")
    parser.add_argument("--rate", type=float, default=rate, help="highest learning rate")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="one, where two of these run at once")
    parser.add_argument("--restart", action="store_true", help="continue from the weights with a new schedule")


def train(module, checkpoint, arguments, loss_of, judge, judge_every=1000, warm_up=200, report=None, groups=None):
    """Minimize `loss_of(step)`; `judge(average weights)` returns a line to report progress.

    groups: parameters as for an optimizer, each with the `share` of the learning rate that they get (default: all of it)
    report(progress): called before every step, instead of a progress bar; what it raises ends the training at a checkpoint.

    Weights, optimizer, average, step and elapsed time are saved to `checkpoint` every few minutes, and a new run resumes
    from there.  Random numbers must be derived from the step, so that a resumed run is identical to an uninterrupted one.
    """
    optimizer = torch.optim.AdamW(groups or module.parameters(), lr=arguments.rate, weight_decay=0.01)
    average = Average(module)
    start, spent = 0, 0.0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=DEVICE)
        module.load_state_dict(saved["model"])
        average.values = saved["average"]
        if not arguments.restart:
            optimizer.load_state_dict(saved["optimizer"])
            start, spent, average.count = saved["step"], saved["spent"], saved["step"]
    begun = time.time() - spent

    def save(step):
        part = checkpoint.with_suffix(".part")
        state = {"model": module.state_dict(), "average": average.values, "optimizer": optimizer.state_dict()}
        with part.open("wb") as file:
            torch.save(state | {"step": step, "spent": time.time() - begun}, file)
            file.flush()
            os.fsync(file.fileno())  # under its name it is whole, also after a power cut
        os.replace(part, checkpoint)

    step, smooth, saved_at = start, None, time.time()
    bar = tqdm(range(start, arguments.steps), initial=start, total=arguments.steps, mininterval=10, disable=report is not None)
    for step in bar:
        # Progress is the larger of the shares of steps and of minutes: the learning rate is zero when either ends.
        progress = max(step / arguments.steps, (time.time() - begun) / 60 / arguments.minutes)
        if report:
            try:
                report(min(progress, 1.0))
            except BaseException:
                save(step)
                raise
        if progress >= 1:
            break
        rate = arguments.rate * min(1, (step - start + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("share", 1)
        module.train()
        loss = loss_of(step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        average.update(module)
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        bar.set_postfix(loss=f"{smooth:.4f}", rate=f"{rate:.1e}")
        if time.time() - saved_at > 60 * SAVE_MINUTES:
            save(step + 1)
            saved_at = time.time()
        if (step + 1) % judge_every == 0:
            bar.write(f"step {step + 1}: {judge(average.values)}")
    save(step + 1)
    if report:
        return
    print(judge(average.values), flush=True)
