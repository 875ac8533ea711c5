"""The problem of `problem.py` in cvxpy, as one would write it down: the reference in tests, and the second engine.

Money is scaled by the largest price or value, so that the solver sees numbers near one whatever the currency.
"""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np

from gridpilot.errors import PlanError
from gridpilot.plan.problem import CHANGE_USD_PER_KWH, SERVICE, SOFT, Problem, Switching
from gridpilot.plan.result import Solution, depth_start_kwh, depth_width_kwh
from gridpilot.values import Array, as_array


class _Model:
    """Decisions, limits and money [units of `scale`] of one problem; see `problem.py` for the formulas."""

    def __init__(self, problem: Problem) -> None:
        import cvxpy as cp

        n, h, self.scale = len(problem), problem.hours, problem.scale
        self.cp, self.problem = cp, problem
        self.bought, self.sold, self.charge, self.discharge = (cp.Variable(n, nonneg=True) for _ in range(4))
        self.net = self.bought - self.sold
        self.loads = {load.name: cp.Variable(n, nonneg=True) for load in problem.loads}
        self.stored: Any = np.zeros(n)
        self.below: Any = np.zeros(n)
        self.above: Any = np.zeros(n)
        self.recursion: Any = None
        self.up: list[Any] = []
        self.down: list[Any] = []
        self.limits: list[Any] = [self.bought <= problem.import_kw, self.sold <= problem.export_kw]
        self.money = -self._dot(h * problem.price_usd_per_kwh / self.scale, self.net)
        for load in problem.loads:
            self.limits.append(self.loads[load.name] <= load.max_kw)
            self.money += self._dot(h * load.worth_usd_per_kwh / self.scale, self.loads[load.name])
        used = sum(self.loads.values(), np.zeros(n))
        self.extra: Any = self._room(used) if problem.room.planned else np.zeros(n)
        drawn = cp.multiply(problem.gross, used) + self.extra
        self.balance = self.net + self.discharge - self.charge - drawn == 0
        self._runs()
        self._battery() if problem.battery is not None else self._rest()
        self._contracts()

    def _dot(self, weight: Array, values: Any) -> Any:
        return self.cp.sum(self.cp.multiply(weight, values))

    def _rest(self) -> None:
        self.limits += [self.charge == 0, self.discharge == 0]

    def _runs(self) -> None:
        for run in self.problem.runs:
            energy = self._dot(self.problem.hours * run.mask, self.loads[run.load])
            if np.isfinite(run.energy_kwh):
                self.limits.append(energy <= run.energy_kwh)
            if run.least_kwh > 0.0 and run.short_usd_per_kwh != 0.0:
                price = SERVICE if run.short_usd_per_kwh is None else run.short_usd_per_kwh / self.scale
                self.money -= price * self.cp.pos(run.least_kwh - energy)

    def _before(self, values: Any, first: float) -> Any:
        """Each step's predecessor, with `first` before the first one."""
        return self.cp.hstack([np.array([first]), values[:-1]]) if len(self.problem) > 1 else np.array([first])

    def _battery(self) -> None:
        cp, problem, n, h = self.cp, self.problem, len(self.problem), self.problem.hours
        battery = problem.battery
        assert battery is not None  # noqa: S101  # the caller has looked
        low, high = battery.soc_min * battery.capacity_kwh, battery.soc_max * battery.capacity_kwh
        self.stored = cp.Variable(n)
        self.below, self.above = cp.Variable(n, nonneg=True), cp.Variable(n, nonneg=True)
        into = cp.multiply(h, battery.efficiency_charge * self.charge - self.discharge / battery.efficiency_discharge)
        self.recursion = self.stored - self._before(self.stored, problem.start_kwh) - into == 0
        self.limits += [
            self.recursion,
            self.charge <= battery.charge_kw,
            self.discharge <= battery.discharge_kw,
            self.stored >= low - self.below,
            self.stored <= high + self.above,
            self.stored >= min(low, problem.start_kwh),
            self.stored <= max(high, problem.start_kwh),
        ]
        if np.isfinite(problem.first_kw):
            self.limits += [
                self.charge[0] == max(problem.first_kw, 0.0),
                self.discharge[0] == max(-problem.first_kw, 0),
            ]
        self.money += problem.terminal_usd_per_kwh / self.scale * self.stored[n - 1]
        self.money -= battery.wear_usd_per_kwh / self.scale * self._dot(h, self.charge + self.discharge)
        self.money -= SOFT * cp.sum(self.below + self.above)
        known = np.flatnonzero(np.isfinite(problem.before_kw))
        if len(known):
            moved = cp.abs((self.charge - self.discharge)[known] - problem.before_kw[known])
            self.money -= CHANGE_USD_PER_KWH / self.scale * self._dot(h[known], moved)
        if problem.depth_wear:
            self._depth(battery.efficiency_charge, battery.efficiency_discharge)

    def _depth(self, eta_c: float, eta_d: float) -> None:
        cp, problem, n, h = self.cp, self.problem, len(self.problem), self.problem.hours
        parts = []
        for held, usd in zip(depth_start_kwh(problem), problem.depth_wear, strict=True):
            c, d, e = cp.Variable(n, nonneg=True), cp.Variable(n, nonneg=True), cp.Variable(n, nonneg=True)
            into = cp.multiply(h, eta_c * c - d / eta_d)
            self.limits += [e <= depth_width_kwh(problem), e == self._before(e, held) + into]
            self.money -= usd / self.scale * self._dot(h, d)
            parts.append((c, d))
        self.limits += [self.charge == sum(c for c, _ in parts), self.discharge == sum(d for _, d in parts)]

    def _contracts(self) -> None:
        """Ramp, demand charge, minimum run times and reserve."""
        cp, problem = self.cp, self.problem
        if np.isfinite(problem.ramp_kw):
            first = problem.grid_before_kw
            change = cp.abs(self.net - self._before(self.net, first if np.isfinite(first) else 0.0))
            over = cp.pos(change - problem.ramp_kw)
            self.money -= SERVICE * cp.sum(over if np.isfinite(first) else over[1:])
        if problem.demand_usd_per_kw > 0.0:
            more = cp.pos(cp.max(self.net) - problem.peak_kw)
            self.money -= problem.demand_usd_per_kw / self.scale * more
        for switching in problem.switching:
            self._run_times(switching)
        if problem.reserve.wanted:
            self._reserve()

    def _room(self, used: Any) -> Any:
        """Cooling beyond what the heat needs [kW], within the room's temperatures."""
        cp, problem, room = self.cp, self.problem, self.problem.room
        extra, apart = cp.Variable(len(problem)), cp.Variable(len(problem))
        kept = np.array([room.kept(float(h)) for h in problem.hours])
        moved = problem.cop * np.array([room.moved_c(float(h)) for h in problem.hours])
        before = self._before(apart, problem.room_start_c - room.set_c)
        self.limits += [
            apart == cp.multiply(kept, before) - cp.multiply(moved, extra),
            extra <= room.extra_kw,
            extra + cp.multiply(problem.cooling_kw_per_kw, used) >= 0,
        ]
        outside = cp.pos(apart - (room.high_c - room.set_c)) + cp.pos(room.low_c - room.set_c - apart)
        self.money -= problem.room_soft * cp.sum(outside)
        self.money -= problem.room_usd_per_c / self.scale * apart[len(problem) - 1]
        return extra

    def _run_times(self, switching: Switching) -> None:
        cp, problem, n = self.cp, self.problem, len(self.problem)
        running = sum(self.loads[load.name] for load in problem.loads if load.place == switching.type)
        start, stop = cp.Variable(n, nonneg=True), cp.Variable(n, nonneg=True)
        self.limits.append(running - self._before(running, switching.before_kw) == start - stop)
        self.money -= 1e-6 * cp.sum(start + stop)
        begin = problem.starts_h
        age = begin[:, None] - begin[None, :]  # of what is switched in one step, in another
        for window_h, switched, sign, room, most in (
            (switching.on_h, start, 1.0, running, switching.before_kw),
            (
                switching.off_h,
                stop,
                -1.0,
                switching.installed_kw - running,
                switching.installed_kw - switching.before_kw,
            ),
        ):
            inside = ((age >= 0.0) & (age < window_h - 1e-9)).astype(float)
            before = [
                sum(max(0.0, sign * kw) for past_h, kw in switching.recent if past_h + begin[t] < window_h - 1e-9)
                for t in range(n)
            ]
            held = np.minimum(before, most) + cp.sum(
                cp.multiply(inside, cp.reshape(switched, (1, n), order="C")), axis=1
            )
            self.money -= SERVICE * cp.sum(cp.pos(held - room))

    def _reserve(self) -> None:
        cp, problem, n, reserve = self.cp, self.problem, len(self.problem), self.problem.reserve
        mining = [load for load in problem.loads if load.service == "mining"]
        running = sum((self.loads[load.name] for load in mining), np.zeros(n))
        could = sum((load.max_kw for load in mining), np.zeros(n))
        self.up, self.down = [cp.Variable(n, nonneg=True)], [cp.Variable(n, nonneg=True)]
        self.limits += [
            self.up[0] <= cp.multiply(problem.gross, running),
            self.down[0] <= cp.multiply(problem.gross, could - running),
        ]
        if problem.battery is not None:
            self.up.append(cp.Variable(n, nonneg=True))
            self.down.append(cp.Variable(n, nonneg=True))
            self._reserve_battery(self.up[1], self.down[1])
        up, down = sum(self.up), sum(self.down)
        self.limits += [up - self.net <= problem.export_kw, self.net + down <= problem.import_kw]
        for given, least, most, usd in (
            (up, reserve.up_kw, reserve.most_up_kw, reserve.up_usd_per_mw_h),
            (down, reserve.down_kw, reserve.most_down_kw, reserve.down_usd_per_mw_h),
        ):
            self.limits.append(given <= max(least, most))
            self.money += usd / (1000.0 * self.scale) * self._dot(problem.hours, given)
            self.money -= SERVICE * cp.sum(cp.pos(least - given))

    def _reserve_battery(self, up: Any, down: Any) -> None:
        problem = self.problem
        battery, hours, start = problem.battery, problem.reserve.hours, problem.start_kwh
        assert battery is not None  # noqa: S101  # the caller has looked
        low, high = battery.soc_min * battery.capacity_kwh, battery.soc_max * battery.capacity_kwh
        drawn, filled = hours / battery.efficiency_discharge * up, hours * battery.efficiency_charge * down
        self.limits += [
            self.discharge - self.charge + up <= battery.discharge_kw,
            self.charge - self.discharge + down <= battery.charge_kw,
        ]
        before = self._before(self.stored, start)
        self.limits += [self.stored - drawn >= low, before - drawn >= low] if start >= low else [up == 0]
        self.limits += [self.stored + filled <= high, before + filled <= high] if start <= high else [down == 0]


def solve(
    problem: Problem,
    *,
    time_limit_s: float,
    exclusive: tuple[int, ...] = (),
    idle_charge: Array | None = None,
    idle_discharge: Array | None = None,
) -> Solution:
    """The optimum, with HiGHS. `exclusive` names steps where charging and discharging exclude each other.

    `idle_charge` and `idle_discharge` are True (T,) where that direction is shut, as after a MILP.
    PlanError for any status but optimal: a time limit returns finite, wrong numbers.
    """
    import cvxpy as cp

    model = _Model(problem)
    battery = problem.battery
    if battery is not None and exclusive:
        steps = list(exclusive)
        on = cp.Variable(len(steps), boolean=True)
        model.limits += [
            model.charge[steps] <= battery.charge_kw * on,
            model.discharge[steps] <= battery.discharge_kw * (1 - on),
        ]
    for shut, power in ((idle_charge, model.charge), (idle_discharge, model.discharge)):
        if shut is not None and np.any(shut):
            model.limits.append(power[np.flatnonzero(shut)] == 0)
    whole = cp.Problem(cp.Maximize(model.money), [model.balance, *model.limits])
    start = time.perf_counter()
    try:
        with warnings.catch_warnings():  # what is not optimal is refused below, with its status
            warnings.simplefilter("ignore")
            whole.solve(solver=cp.HIGHS, highs_options={"time_limit": time_limit_s, "threads": 1})
    except (cp.SolverError, ValueError, ArithmeticError) as error:
        raise PlanError(f"HiGHS failed: {error}") from None
    if whole.status != cp.OPTIMAL:
        raise PlanError(f"HiGHS ended with status {whole.status}, only optimal counts")
    return _read(model, problem, (time.perf_counter() - start) * 1000.0, mixed=bool(exclusive))


def _read(model: _Model, problem: Problem, solve_ms: float, *, mixed: bool) -> Solution:
    """Values of the variables; a mixed-integer program has no duals."""
    zero = np.zeros(len(problem))

    def of(parts: list[Any]) -> Array:
        return as_array(np.maximum(sum((part.value for part in parts), zero), 0.0))

    priced = not mixed and problem.battery is not None
    net = model.bought.value - model.sold.value
    return Solution(
        charge_kw=of([model.charge]),
        discharge_kw=of([model.discharge]),
        stored_kwh=as_array(model.stored.value if problem.battery is not None else zero),
        loads_kw={name: of([kw]) for name, kw in model.loads.items()},
        import_kw=as_array(np.maximum(net, 0.0)),
        export_kw=as_array(np.maximum(-net, 0.0)),
        marginal_usd_per_kwh=as_array(np.asarray(model.recursion.dual_value) * model.scale if priced else zero),
        power_usd_per_kwh=as_array(
            zero if mixed else -np.asarray(model.balance.dual_value) * model.scale / problem.hours
        ),
        solve_ms=solve_ms,
        reserve_up_kw=of(model.up),
        reserve_down_kw=of(model.down),
        room_kw=as_array(model.extra.value if problem.room.planned else zero),
    )
