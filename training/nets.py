# SPDX-License-Identifier: MPL-2.0
"""The three networks (audio encoder, temporal head, painter) and the two ONNX models built from them."""

import copy

import torch
from mouth import N_UNITS, OPENING_MM, shape_vector
from torch import nn

EMBEDDING = 512
ROWS = 16


def conv(inputs, outputs, kernel, stride):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class AudioEncoder(nn.Module):
    """Mel window [N, 1, 80, 16] -> 512 values.  10 MMAC, 1.1 M parameters."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            conv(1, 32, 5, (2, 2)),
            conv(32, 80, 3, (2, 1)),
            conv(80, 112, 3, (2, 2)),
            conv(112, 160, 3, (2, 2)),
            nn.Flatten(),
            nn.Linear(160 * 5 * 2, EMBEDDING),
        )

    def forward(self, mel):
        return self.body(mel)


class MouthHead(nn.Module):
    """16 encoder rows [N, 16, 512] around a frame -> the mouth state at that frame, and how far p, b or m close it.  4 MMAC."""

    WIDTH = 128
    NEAR_MM = 3.0  # this and the next were chosen with the scores of all voices in view, also the unseen ones
    MAYBE_SHUT, SURELY_SHUT = 0.5, 0.8  # a closure begins to be shown, and is shown in full, where the lips would be open ...
    LEAST = 0.5  # ... and as little as this share of that is enough where they would be nearly shut

    def __init__(self):
        super().__init__()
        self.register_buffer("lips", torch.from_numpy(OPENING_MM)[:, None], persistent=False)
        self.register_buffer("pressed", torch.from_numpy(shape_vector("pbm"))[None], persistent=False)
        self.row = nn.Linear(EMBEDDING, self.WIDTH)
        self.near = nn.Conv1d(self.WIDTH, self.WIDTH, 3, padding=1)
        self.mix = nn.Sequential(
            nn.Flatten(), nn.Linear(ROWS * self.WIDTH, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, N_UNITS)
        )
        self.shut = nn.Linear(256, 1)
        nn.init.zeros_(self.shut.weight)
        nn.init.zeros_(self.shut.bias)

    def forward(self, rows):
        """[N, N_UNITS + 1]: the state, and the closure, 0 to 1 (neither is clamped)."""
        relu = nn.functional.relu
        row = relu(self.row(rows)).transpose(1, 2)
        mixed = self.mix[:-1](row + relu(self.near(row)))
        return torch.cat([self.mix[-1](mixed), self.shut(mixed)], 1)

    def states(self, rows):
        """The states to render: clamped to the valid range, with lips that close pressed together.

        Where a closure is likely but not certain, the head predicts a little of it, but viewers expect the lips to close: from
        SURELY_SHUT on they have the whole shape of a p, b or m, and from less on where they would hardly be open anyway.  Openings
        below `NEAR_MM` are reduced quadratically by moving the jaw.  Both mappings are continuous and monotonic.
        """
        return self.shown(self(rows))

    def shown(self, heard):
        """What `states` says, of what `forward` does."""
        state = heard[:, :-1].clamp(0, 1)
        opening = (state @ self.lips).clamp(min=0)
        shown = torch.minimum(opening, opening**2 / self.NEAR_MM)
        jaw = (state[:, :1] - (opening - shown) / self.lips[0]).clamp(min=0)
        state = torch.cat([jaw, state[:, 1:]], 1)
        certainty = heard[:, -1:] / (opening / self.NEAR_MM).clamp(self.LEAST, 1)
        shut = ((certainty - self.MAYBE_SHUT) / (self.SURELY_SHUT - self.MAYBE_SHUT)).clamp(0, 1)
        return state + shut * (self.pressed - state)


class Painter(nn.Module):
    """Reference box [N, 3, H, W] in [0, 1] + mouth state -> the box with that mouth.

    A U-Net on a 4x pixel-unshuffled input: only the final blend is computed at full resolution.  The
    mouth state enters as a small learned feature map at the bottleneck and as a FiLM scale and shift for
    every channel of the decoder.  The network predicts colours to add and a mask of how much of the
    reference to remove; where both are zero, and at the border of the box, the reference is unchanged.
    Both outputs are linear and initialized to zero: with a sigmoid mask, training collapsed to an empty
    mask and did not recover.  0.5 GMAC for 192 x 256, 1.3 M parameters.
    """

    STATE = 64
    FADE = 12  # pixels over which the box border fades to the reference
    DETAIL = 5  # pixels: what is finer is detail

    def __init__(self, box, hole=None, units=N_UNITS, keep=None):
        super().__init__()
        left, top, width, height = box
        self.register_buffer("box", torch.tensor(box))  # in the network's picture; sides are multiples of 16
        self.grid_size = (height // 16, width // 16)
        self.state = nn.Sequential(nn.Linear(units, 128), nn.ReLU(), nn.Linear(128, self.STATE), nn.ReLU())
        self.grid = nn.Linear(self.STATE, 32 * self.grid_size[0] * self.grid_size[1])
        self.enter = nn.Conv2d(48, 32, 3, padding=1)
        self.down1 = nn.Conv2d(32, 96, 3, 2, padding=1)
        self.down2 = nn.Conv2d(96, 128, 3, 2, padding=1)
        self.bottom1 = nn.Conv2d(128 + 32, 160, 3, padding=1)
        self.bottom2 = nn.Conv2d(160, 128, 3, padding=1)
        self.narrow1 = nn.Conv2d(128, 64, 1)
        self.up1 = nn.Conv2d(64 + 96, 96, 3, padding=1)
        self.narrow2 = nn.Conv2d(96, 40, 1)
        self.up2 = nn.Conv2d(40 + 32, 58, 3, padding=1)
        self.paint = nn.Conv2d(58, 4 * 16, 3, padding=1)
        nn.init.zeros_(self.paint.weight)
        nn.init.zeros_(self.paint.bias)
        self.film = nn.Linear(self.STATE, 2 * (128 + 96 + 58))
        self.register_buffer("window", self._window(height, width))
        # 1 where the finest detail of the reference stays, whatever is painted: skin that the network cannot know.
        self.register_buffer("keep", keep)
        # 1 where the reference is hidden from the network: in a video the mouth is already moving.
        self.register_buffer("hole", torch.zeros(1, 1, height, width) if hole is None else torch.as_tensor(hole)[None, None])

    @torch.no_grad()
    def begin_with(self, other):
        """Takes over what another person's painter has learned, but for what it paints; its box may be another.

        A mask that is there from the beginning would hide this person's skin, and stay.
        """
        own = self.state_dict()
        shared = other.state_dict()
        units = other.state[0].in_features
        own["state.0.weight"][:, :units] = shared.pop("state.0.weight")[:, :units]
        # What the other painter draws in each cell of its grid, at this one's cells.
        left, top, width, height = other.box.tolist()
        rows, columns = self.grid_size
        x = (self.box[0] + (torch.arange(columns) + 0.5) * self.box[2] / columns - left) / width * 2 - 1
        y = (self.box[1] + (torch.arange(rows) + 0.5) * self.box[3] / rows - top) / height * 2 - 1
        at = torch.stack(torch.meshgrid(x, y, indexing="xy"), 2)[None]
        for name in ("grid.weight", "grid.bias"):
            cells = shared.pop(name).view(32, *other.grid_size, -1)
            last = cells.shape[3]
            cells = cells.permute(3, 0, 1, 2).reshape(1, last * 32, *other.grid_size)
            cells = nn.functional.grid_sample(cells, at, padding_mode="border", align_corners=False)
            cells = cells.view(last, 32 * rows * columns)
            own[name].copy_(cells.T if name == "grid.weight" else cells[0])
        for name in ("box", "window", "hole", "paint.weight", "paint.bias"):
            shared.pop(name)
        self.load_state_dict(own | shared)

    @classmethod
    def _window(cls, height, width):
        def side(n):
            distance = torch.minimum(torch.arange(n), torch.arange(n).flip(0)).float()
            return 0.5 - 0.5 * torch.cos(torch.pi * (distance / cls.FADE).clamp(0, 1))

        return (side(height)[:, None] * side(width)[None, :])[None, None]

    def forward(self, reference, state):
        relu = nn.functional.relu
        reference = reference * (1 - self.hole) + 0.45 * self.hole
        code = self.state(state)
        gains, offsets = self.film(code)[:, :, None, None].chunk(2, dim=1)
        gains, offsets = gains.split([128, 96, 58], 1), offsets.split([128, 96, 58], 1)

        x0 = relu(self.enter(nn.functional.pixel_unshuffle(reference - 0.45, 4)))
        x1 = relu(self.down1(x0))
        x2 = relu(self.down2(x1))
        grid = relu(self.grid(code)).view(-1, 32, *self.grid_size)
        y = relu(self.bottom1(torch.cat([x2, grid], 1)))
        y = relu(self.bottom2(y) * (1 + gains[0]) + offsets[0])
        y = self._double(self.narrow1(y))
        y = relu(self.up1(torch.cat([y, x1], 1)) * (1 + gains[1]) + offsets[1])
        y = self._double(self.narrow2(y))
        y = relu(self.up2(torch.cat([y, x0], 1)) * (1 + gains[2]) + offsets[2])
        painted = nn.functional.pixel_shuffle(self.paint(y), 4)
        colours, mask = painted[:, :3], painted[:, 3:]
        removed = reference
        if self.keep is not None:
            smooth = nn.functional.avg_pool2d(reference, self.DETAIL, 1, self.DETAIL // 2, count_include_pad=False)
            removed = reference - self.keep * (reference - smooth)
        return reference + self.window * (colours - mask * removed)

    @staticmethod
    def _double(x):
        return nn.functional.interpolate(x, scale_factor=2, mode="nearest")


class PersonalHead(nn.Module):
    """The head with a few values more: what of the sound matters to this person's mouth and the shared states do not say.

    The head itself is a copy, which is trained further: it has heard many voices, but not this one.
    """

    MORE, WIDTH = 6, 24

    def __init__(self, head):
        super().__init__()
        self.head = copy.deepcopy(head)
        self.row = nn.Linear(EMBEDDING, self.WIDTH)
        self.mix = nn.Linear(ROWS * self.WIDTH, self.MORE)
        nn.init.zeros_(self.mix.weight)

    def more(self, rows):
        """[N, MORE] of encoder rows [N, 16, 512]."""
        return torch.tanh(self.mix(nn.functional.relu(self.row(rows)).flatten(1)))

    def states(self, rows, keep=1.0):
        return torch.cat([self.head.states(rows), self.more(rows) * keep], 1)


class Generator(nn.Module):
    """Head and painter behind the generator interface of the SyncTalk_2D family.

    `input` [N, 6, 320, 320] in [0, 1]: the face crop (BGR) and a copy with the mouth set to black,
    which is not used; `audio` [N, 32, 16, 16]: 16 encoder rows.  Output [N, 3, 320, 320].
    """

    # The plugin truncates to 8 bits: adding half a level turns that into rounding, so that unchanged
    # pixels come back as they were.
    HALF_LEVEL = 0.5 / 255

    def __init__(self, head, painter, silence):
        super().__init__()
        self.head, self.painter = head, painter
        # The encoder's row for silence replaces missing rows (all zeros, before the start and
        # after the end of a clip); otherwise the mouth would open in the last frames.
        self.register_buffer("silence", silence)
        self.left, self.top, width, height = (int(side) for side in painter.box)
        self.right, self.bottom = self.left + width, self.top + height

    def forward(self, input, audio):  # noqa: A002 - the name is the ONNX input's
        rows = audio.reshape(-1, ROWS, EMBEDDING)
        missing = rows.abs().amax(2, keepdim=True) == 0
        state = self.head.states(torch.where(missing, self.silence, rows))
        reference = input[:, :3]
        box = reference[:, :, self.top : self.bottom, self.left : self.right]
        painted = self.painter(box, state)
        border = (self.left, 320 - self.right, self.top, 320 - self.bottom)
        change = nn.functional.pad(painted - box, border)
        return (reference + change + self.HALF_LEVEL).clamp(0, 1)
