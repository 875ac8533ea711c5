"""Simulators against their closed forms, fits against what a series came from, refusals in one line.

Moments are those of N paths; a mean may be off by 4 of its standard errors, a variance by 4 of its own (from the fourth
moment). Heston's price is simulated in steps, so its variance may be off by 1 % more.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from gridpilot.errors import DataError
from gridpilot.risk.heston import Heston
from gridpilot.risk.simulators import GeometricBrownian, MertonJump, OrnsteinUhlenbeck, Simulator

N, STEPS = 40_000, 24
HOURS = np.arange(1.0, STEPS + 1)
OU = OrnsteinUhlenbeck(0.1, 60.0, 8.0)
GBM = GeometricBrownian(0.002, 0.03)
MERTON = MertonJump(0.002, 0.03, 0.05, 0.1, 0.15)
HESTON = Heston(0.001, 0.1, 0.0009, 0.006, -0.6, 0.0004)
WILD = Heston(0.001, 0.05, 0.0009, 0.02, -0.6, 0.0004)  # its variance is often 0
FORWARD = Heston(0.001, 0.05, 0.0009, 0.006, 0.4, 0.0004)
ERRORS = 4.0


def draw(process: Simulator, start: float, step_h: float = 1.0, seed: int = 0, n: int = N) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return process.paths(start, rng.standard_normal((n, STEPS)), step_h, rng)


def kinds(process: Simulator) -> str:
    return type(process).__name__


@pytest.mark.parametrize("process", [OU, GBM, MERTON, HESTON, WILD, FORWARD], ids=kinds)
@pytest.mark.parametrize("step_h", [1.0, 0.25])
def test_paths__many__mean_and_variance_are_the_closed_forms(process: Simulator, step_h: float) -> None:
    paths = draw(process, 40.0, step_h)
    assert paths.shape == (N, STEPS)
    mean, variance = paths.mean(axis=0), paths.var(axis=0)
    fourth = ((paths - mean) ** 4).mean(axis=0)
    spread = np.sqrt((fourth - variance**2) / N)
    hours = HOURS * step_h
    more = 0.01 if isinstance(process, Heston) else 0.0
    assert np.all(np.abs(mean - process.mean(40.0, hours)) <= ERRORS * np.sqrt(variance / N))
    expected = process.variance(40.0, hours)
    assert np.all(np.abs(variance - expected) <= ERRORS * spread + more * expected)


@pytest.mark.parametrize("process", [OU, GBM, MERTON, HESTON], ids=kinds)
def test_paths__same_seed__the_same_to_the_last_bit(process: Simulator) -> None:
    assert np.array_equal(draw(process, 40.0, n=50), draw(process, 40.0, n=50))
    assert not np.array_equal(draw(process, 40.0, n=50), draw(process, 40.0, n=50, seed=1))


@pytest.mark.parametrize("process", [GBM, MERTON, HESTON, WILD], ids=kinds)
def test_paths__positive_processes__stay_positive(process: Simulator) -> None:
    assert draw(process, 40.0).min() > 0.0


def test_merton__without_jumps__is_geometric_brownian_motion() -> None:
    plain = MertonJump(0.002, 0.03, 0.0, 0.1, 0.15)
    assert draw(plain, 40.0, n=500) == pytest.approx(draw(GBM, 40.0, n=500))
    assert plain.variance(40.0, HOURS) == pytest.approx(GBM.variance(40.0, HOURS))


def test_heston__variance_that_hardly_moves__is_geometric_brownian_motion() -> None:
    still = Heston(0.002, 1.0, 0.0009, 1e-5, 0.0, 0.0009)
    assert still.variance(40.0, HOURS) == pytest.approx(GBM.variance(40.0, HOURS), rel=1e-5)


def test_heston__variance_of_the_log_price__integral_of_its_moments() -> None:
    # var log S = E int v + var(int v) / 4 - cov(int sqrt(v) dW, int v), each an integral of the known E[v].
    hours, p = 24.0, HESTON
    expected_v = lambda s: p.level + (p.now - p.level) * math.exp(-p.pull * s)  # noqa: E731
    reach = lambda s: (1.0 - math.exp(-p.pull * (hours - s))) / p.pull  # noqa: E731
    total = integrate.quad(expected_v, 0.0, hours)[0]
    own = p.noise**2 * integrate.quad(lambda s: reach(s) ** 2 * expected_v(s), 0.0, hours)[0]
    cross = p.link * p.noise * integrate.quad(lambda s: reach(s) * expected_v(s), 0.0, hours)[0]
    seen = np.log(draw(p, 40.0))[:, -1].var()
    assert seen == pytest.approx(total + own / 4.0 - cross, rel=ERRORS * math.sqrt(3.0 / N))


@pytest.mark.parametrize(("link", "noise", "pull"), [(0.8, 0.05, 0.01), (0.3, 0.2, 0.05), (-0.2, 0.2, 0.05)])
def test_heston__second_moment_that_explodes__is_infinite_from_then_on(link: float, noise: float, pull: float) -> None:
    process = Heston(0.0, pull, 0.0009, noise, link, 0.0009)
    hours = np.linspace(1.0, 3000.0, 600)
    variance = process.variance(40.0, hours)
    known = np.isfinite(variance)
    assert known[0] and not known[-1] and not np.any(np.diff(known.astype(int)) > 0)
    assert np.all(np.diff(variance[known]) > 0.0)

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        return 0.5 * noise**2 * y**2 - (pull - 2.0 * link * noise) * y + 1.0

    # The Riccati equation, integrated numerically until it is large, blows up where the variance becomes infinite.
    large = lambda t, y: y[0] - 1e9  # noqa: E731
    large.terminal = True  # type: ignore[attr-defined]
    found = integrate.solve_ivp(slope, (0.0, 4000.0), [0.0], events=large, rtol=1e-9, max_step=5.0)
    first = hours[~known][0]
    assert first - 2.0 * (hours[1] - hours[0]) <= found.t_events[0][0] <= first + 1.0


# --- fits ------------------------------------------------------------------------------------


def series(process: Simulator, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.append(60.0, process.paths(60.0, rng.standard_normal((1, n)), 1.0, rng)[0])


def test_fit_ou__its_own_series__within_a_few_standard_errors() -> None:
    found = OrnsteinUhlenbeck.fit(series(OU, 20_000), 1.0)
    assert found.noise == pytest.approx(OU.noise, rel=0.02)
    assert found.pull == pytest.approx(OU.pull, rel=4.0 * math.sqrt(2.0 / (OU.pull * 20_000)))
    assert found.level == pytest.approx(OU.level, abs=4.0 * OU.noise / OU.pull / math.sqrt(20_000))


def test_fit_ou__least_squares__as_scipy_regresses() -> None:
    values = series(OU, 500)
    line = stats.linregress(values[:-1], values[1:])
    found = OrnsteinUhlenbeck.fit(values, 0.5)
    assert found.pull == pytest.approx(-math.log(line.slope) / 0.5)
    assert found.level == pytest.approx(line.intercept / (1.0 - line.slope))


def test_fit_gbm__its_own_series__noise_and_growth() -> None:
    found = GeometricBrownian.fit(series(GBM, 20_000), 1.0)
    assert found.noise == pytest.approx(GBM.noise, rel=0.02)
    assert found.growth == pytest.approx(GBM.growth, abs=4.0 * GBM.noise / math.sqrt(20_000))


def test_fit_merton__its_own_series__jumps_and_noise_apart() -> None:
    found = MertonJump.fit(series(MERTON, 20_000), 1.0)
    assert found.noise == pytest.approx(MERTON.noise, rel=0.03)
    assert found.rate == pytest.approx(MERTON.rate, rel=0.15)
    assert found.jump_mean == pytest.approx(MERTON.jump_mean, abs=0.03)
    assert found.jump_sd == pytest.approx(MERTON.jump_sd, rel=0.1)


def test_fit_heston__five_years_of_its_own_hours__within_a_third() -> None:
    true = Heston(0.0, 0.01, 0.0009, 0.003, -0.6, 0.0009)
    found = Heston.fit(series(true, 5 * 8760), 1.0)
    for name in ("pull", "level", "noise", "link"):
        assert getattr(found, name) == pytest.approx(getattr(true, name), rel=1.0 / 3.0), name


# --- where a process does not apply ---------------------------------------------------------------


@pytest.mark.parametrize("process", [GeometricBrownian, MertonJump, Heston])
def test_fit__negative_prices__one_line_that_says_what_to_use(process: type) -> None:
    values = series(OU, 3000)
    values[5] = -3.5
    with pytest.raises(DataError, match=r"1 of 3001 prices are 0 or negative, the lowest -3\.5; expected positive"):
        process.fit(values, 1.0)


def test_fit__process_that_the_history_does_not_show__refused() -> None:
    with pytest.raises(DataError, match="the slope of a value on the one before"):
        OrnsteinUhlenbeck.fit(np.exp(np.linspace(0.0, 5.0, 200)), 1.0)
    with pytest.raises(DataError, match="all values are equal"):
        OrnsteinUhlenbeck.fit(np.full(200, 60.0), 1.0)
    with pytest.raises(DataError, match="all changes are equal"):
        GeometricBrownian.fit(np.full(200, 60.0), 1.0)
    with pytest.raises(DataError, match="robust standard deviations off"):
        MertonJump.fit(np.exp(0.01 * np.sin(np.arange(400.0))), 1.0)
    with pytest.raises(DataError, match="does not cluster"):
        Heston.fit(series(GBM, 60 * 24, seed=4), 1.0)
    with pytest.raises(DataError, match="days of"):
        Heston.fit(series(GBM, 200), 1.0)


@pytest.mark.parametrize("process", [OrnsteinUhlenbeck, GeometricBrownian, MertonJump, Heston])
@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.full(20, 60.0), "20 values, expected a history of 100 or more"),
        (np.append(np.arange(1.0, 200.0), np.nan), "1 of 200 values are not numbers"),
    ],
)
def test_fit__short_or_broken_history__one_line(process: type, values: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said):
        process.fit(values, 1.0)


@pytest.mark.parametrize("process", [GBM, MERTON, HESTON], ids=kinds)
@pytest.mark.parametrize("start", [0.0, -20.0, math.nan])
def test_paths__start_that_is_not_positive__refused(process: Simulator, start: float) -> None:
    with pytest.raises(DataError, match="expected a positive price"):
        draw(process, start, n=2)
