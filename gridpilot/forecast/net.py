"""A small neural net over days: a few members trained side by side, with a linear way past the hidden layers.

Each member maps the inputs of a day to all its hours, x -> 128 -> 64 -> S with GELU and a linear skip from
input to output, and is trained on the absolute error in price units with AdamW (Loshchilov and Hutter 2019),
dropout and input noise. After the first training it follows the days with one short epoch a day on rows drawn
by recency. Plain numpy: members are one batched matrix product.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gridpilot.forecast.days import DayTable, Tick, silent
from gridpilot.forecast.inputs import FIRST_ROW, Inputs, Scale
from gridpilot.values import Array, Index

Floats = npt.NDArray[np.float32]

MEMBERS = 4
HIDDEN = (128, 64)
EPOCHS = 100
BATCH = 64
RATE = 1e-3  # at the start, falling by a cosine to
DAILY_RATE = 2e-4
DAILY_ROWS = 400
HALF_LIFE = 365.0  # rows; the recency by which the daily rows are drawn
DROPOUT = 0.2
NOISE = 0.05
DECAY = 1e-2
MOST_Z = 8.0  # a forecast beyond it is cut
MOST = 6.0  # inputs are cut at as many standard deviations
MOST_WEIGHT = 10.0  # of one error, times the mean
GELU_C = 0.7978845608  # sqrt(2 / pi), the tanh form of GELU (Hendrycks and Gimpel 2016)


class SmallNet:
    """The mean of a few small nets; a `DayModel`. The same days and seed give the same net."""

    name = "net"
    least_rows = 90

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._inputs: Inputs | None = None
        self._mean = self._sd = np.zeros(0)
        self._net: _Members | None = None

    def fit(self, days: DayTable) -> None:
        """Train afresh on all known rows."""
        self.rows(days, len(days))

    def predict(self, days: DayTable) -> Array:
        """The day to come (S,)."""
        if self._inputs is None or self._net is None:
            raise ValueError("net is not fitted: call fit first")
        now = self._inputs.now(days)
        return np.asarray(_price(self._inputs.scale, self._net, self._standard(now[None])) + days.level[-1])

    def rows(self, days: DayTable, first: int, tick: Tick = silent) -> Array:
        """Forecasts of rows `first`.. (D, S), each after an epoch on the rows before it; NaN before `first`."""
        self._inputs, table = Inputs.learn(days, first)
        raw, scale = table.x, self._inputs.scale
        self._mean, self._sd = raw[FIRST_ROW:first].mean(axis=0), raw[FIRST_ROW:first].std(axis=0) + 1e-6
        x, prices = self._standard(raw), scale.z(days.relative)
        slope = scale.slope(prices)
        cost = np.asarray(np.minimum(slope / slope[FIRST_ROW:first].mean(), MOST_WEIGHT), dtype=np.float32)
        z = np.asarray(prices, dtype=np.float32)
        net = self._net = _Members(x.shape[1], z.shape[1], np.random.default_rng(self._seed))
        for epoch in range(EPOCHS):
            fall = 0.5 * (1.0 + np.cos(np.pi * epoch / EPOCHS))
            net.epoch(x, z, cost, np.arange(FIRST_ROW, first), RATE * fall + DAILY_RATE)
        out = np.full(days.y.shape, np.nan)
        for row in range(first, len(days)):
            out[row] = _price(scale, net, x[row : row + 1]) + days.level[row]
            tick((row + 1 - first) / (len(days) - first))
            known = np.arange(FIRST_ROW, row + 1)
            chance = 0.5 ** ((row - known) / HALF_LIFE)
            drawn = net.rng.choice(known, min(DAILY_ROWS, len(known)), p=chance / chance.sum())
            net.epoch(x, z, cost, drawn, DAILY_RATE)
        return out

    def _standard(self, raw: Array) -> Floats:
        return np.asarray(np.clip((raw - self._mean) / self._sd, -MOST, MOST), dtype=np.float32)


def _price(scale: Scale, net: _Members, x: Floats) -> Array:
    """One row of inputs (1, C) to prices (S,), the mean of the members."""
    z = net.forward(x).mean(axis=0)[0].astype(np.float64)
    return scale.price(np.clip(z, -MOST_Z, MOST_Z))


class _Members:
    """The members' parameters, stacked along the first axis, with AdamW's state."""

    def __init__(self, inputs: int, outputs: int, rng: np.random.Generator) -> None:
        def layer(rows: int, cols: int, size: float = 1.0) -> Floats:
            return np.asarray(rng.standard_normal((MEMBERS, rows, cols)) * size / np.sqrt(rows), dtype=np.float32)

        def bias(cols: int) -> Floats:
            return np.zeros((MEMBERS, 1, cols), dtype=np.float32)

        one, two = HIDDEN
        self.rng = rng
        self.parameters = [
            layer(inputs, one), bias(one), layer(one, two), bias(two),
            layer(two, outputs, 0.3), bias(outputs), layer(inputs, outputs, 0.1),
        ]  # fmt: skip
        self._mean = [np.zeros_like(p) for p in self.parameters]
        self._square = [np.zeros_like(p) for p in self.parameters]
        self._steps = 0

    def forward(self, x: Floats) -> Floats:
        """x (B, C) -> (MEMBERS, B, S)."""
        w1, b1, w2, b2, w3, b3, skip = self.parameters
        hidden = _gelu(_gelu(x @ w1 + b1)[0] @ w2 + b2)[0]
        return np.asarray(hidden @ w3 + b3 + x @ skip, dtype=np.float32)

    def epoch(self, x: Floats, z: Floats, cost: Floats, rows: Index, rate: float) -> None:
        """One pass over `rows`, in another order for each member."""
        order = self.rng.permuted(np.tile(rows, (MEMBERS, 1)), axis=1)
        for start in range(0, order.shape[1], BATCH):
            take = order[:, start : start + BATCH]
            self._step(x[take], z[take], cost[take], rate)

    def _step(self, x: Floats, z: Floats, cost: Floats, rate: float) -> None:
        """One AdamW step on weighted absolute error; x (M, B, C), z and cost (M, B, S)."""
        w1, b1, w2, b2, w3, b3, skip = self.parameters
        x = x + np.float32(NOISE) * self.rng.standard_normal(x.shape, dtype=np.float32)
        first, slope1 = _gelu(x @ w1 + b1)
        keep1 = self._keep(first.shape)
        first, slope1 = first * keep1, slope1 * keep1
        second, slope2 = _gelu(first @ w2 + b2)
        keep2 = self._keep(second.shape)
        second, slope2 = second * keep2, slope2 * keep2
        out = second @ w3 + b3 + x @ skip
        to_out = cost * np.sign(out - z) / np.float32(x.shape[1])
        to_second = (to_out @ _t(w3)) * slope2
        to_first = (to_second @ _t(w2)) * slope1
        gradients = [
            _t(x) @ to_first, to_first.sum(axis=1, keepdims=True),
            _t(first) @ to_second, to_second.sum(axis=1, keepdims=True),
            _t(second) @ to_out, to_out.sum(axis=1, keepdims=True),
            _t(x) @ to_out,
        ]  # fmt: skip
        self._adamw(gradients, rate)

    def _keep(self, shape: tuple[int, ...]) -> Floats:
        kept = self.rng.random(shape, dtype=np.float32) > DROPOUT
        return np.asarray(kept / np.float32(1.0 - DROPOUT), dtype=np.float32)

    def _adamw(self, gradients: list[Floats], rate: float) -> None:
        self._steps += 1
        one, two = 1.0 - 0.9**self._steps, 1.0 - 0.999**self._steps
        for i, (p, g) in enumerate(zip(self.parameters, gradients, strict=True)):
            self._mean[i] += np.float32(0.1) * (g - self._mean[i])
            self._square[i] += np.float32(0.001) * (g * g - self._square[i])
            move = self._mean[i] / np.float32(one) / (np.sqrt(self._square[i] / np.float32(two)) + np.float32(1e-8))
            if p.shape[1] > 1:  # weights decay, biases do not
                move += np.float32(DECAY) * p
            self.parameters[i] = p - np.float32(rate) * move


def _t(a: Floats) -> Floats:
    return a.transpose(0, 2, 1)


def _gelu(x: Floats) -> tuple[Floats, Floats]:
    """GELU and its slope."""
    inner = np.tanh(np.float32(GELU_C) * (x + np.float32(0.044715) * x**3))
    half = np.float32(0.5) * (1 + inner)
    slope = half + np.float32(0.5 * GELU_C) * x * (1 - inner * inner) * (1 + np.float32(3 * 0.044715) * x * x)
    return x * half, slope
