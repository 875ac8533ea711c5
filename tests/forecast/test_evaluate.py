"""Rolling-origin evaluation: the right days, the right numbers, no look-ahead, honest failures."""

from __future__ import annotations

import csv
import json
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from gridpilot.cli import main
from gridpilot.errors import DataError
from gridpilot.forecast import bands
from gridpilot.forecast.evaluate import day_origins, evaluate
from tests.forecast.conftest import market, spoiled


def test_day_origins__local_midnights_through_a_clock_change() -> None:
    series = market(100, zone="Europe/Amsterdam", start="2023-01-01")
    origins = day_origins(series, date(2023, 3, 25), date(2023, 3, 28))
    first = [str(series.timestamp[o + 1]) for o in origins]
    assert first == [f"2023-03-{t}" for t in ("24T23:00:00", "25T23:00:00", "26T22:00:00", "27T22:00:00")]


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (date(2023, 2, 1), date(2023, 1, 1), "before --start"),
        (date(2022, 12, 1), date(2023, 1, 5), "2022-12-01 is not wholly in the series"),
        (date(2023, 3, 1), date(2024, 1, 5), "is not wholly in the series"),
        (date(2023, 1, 1), date(2023, 1, 5), "is not wholly in the series"),
    ],
)
def test_evaluate__days_outside_the_series_are_refused(start: date, end: date, said: str) -> None:
    with pytest.raises(DataError, match=said):
        evaluate(market(100), start, end)


def test_evaluate__naive_scores_are_those_worked_by_hand() -> None:
    series = market(100)
    found = evaluate(series, date(2023, 3, 1), date(2023, 3, 28), ["seasonal naive"])
    days = series.y.reshape(100, 24)
    weekly = np.abs(days[59:87] - days[52:80]).mean()
    like = [7 if date.fromordinal(date(2023, 1, 1).toordinal() + d).weekday() in (5, 6, 0) else 1 for d in range(100)]
    seasonal = np.mean([np.abs(days[d] - days[d - like[d]]).mean() for d in range(59, 87)])
    table = found.table()
    assert len(found.truth) == 28
    assert table["weekly naive"]["mae"] == pytest.approx(weekly)
    assert table["seasonal naive"]["mae"] == pytest.approx(seasonal)
    assert table["weekly naive"]["rmae"] == pytest.approx(weekly / seasonal)
    assert table["seasonal naive"]["rmae_weekly_naive"] == pytest.approx(seasonal / weekly)


def test_evaluate__future_corrupted_gives_identical_forecasts_and_bands() -> None:
    series, day = market(120), 100
    results = []
    for source in (series, spoiled(series, 24 * day)):
        found = evaluate(source, date(2023, 3, 20), date(2023, 4, 15), ["ridge"])
        rows = 100 - 78  # days from 20 March to the first corrupted one
        trial = found.trials["ridge"]
        results.append([trial.forecast[: rows + 1], *(q[: rows + 1] for q in trial.quantiles.values())])
    for a, b in zip(*results, strict=True):
        assert np.array_equal(a, b)


def test_rolling_bands__changing_volatility_is_covered_at_every_step() -> None:
    rng = np.random.default_rng(0)
    size = np.exp(np.cumsum(rng.normal(0, 0.03, 900)))[:, None] * np.linspace(1, 3, 24)
    errors = rng.standard_t(5, (900, 24)) * size
    found = bands.rolling(errors, 200, 1)
    assert found is not None
    inside = (found.offsets[0.1] <= errors[200:]) & (errors[200:] <= found.offsets[0.9])
    assert 0.78 <= inside.mean() <= 0.82
    assert np.abs(inside.mean(axis=0) - 0.8).max() < 0.06
    stack = np.stack([found.offsets[q] for q in bands.LEVELS])
    assert np.all(np.diff(stack, axis=0) >= 0.0)
    assert bands.rolling(errors, 10, 1) is None


def write(path: Path, days: int = 60, hole: bool = False) -> Path:
    series = market(days)
    lines = ["timestamp,price,load,wind"]
    for i, (t, p) in enumerate(zip(series.timestamp, series.y, strict=True)):
        lines.append(f"{t}Z,{p},{series.exog[i, 0]},{series.exog[i, 1]}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_cli_evaluate__keys_of_the_contract_and_every_forecast_in_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prices, out = write(tmp_path / "p.csv"), tmp_path / "out.csv"
    options = ["--target", "price", "--exog", "load,wind", "--start", "2023-02-20", "--end", "2023-02-28"]
    code = main(["evaluate", "--prices", str(prices), *options, "--models", "ridge", "--out", str(out), "--json"])
    body = json.loads(capsys.readouterr().out)
    assert code == 0
    assert body["n_days"] == 9
    assert set(body["models"]) == {"ridge", "seasonal naive", "weekly naive"}
    wanted = {"mae", "rmae", "smape", "rmse", "crps", "coverage80", "kendall_tau", "fit_ms", "predict_ms"}
    assert all(wanted <= set(scores) for scores in body["models"].values())
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert len(rows) == 3 * 9 * 24
    ridge = [abs(float(r["actual"]) - float(r["forecast"])) for r in rows if r["model"] == "ridge"]
    assert np.mean(ridge) == pytest.approx(body["models"]["ridge"]["mae"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--models", "oracle"], "no model 'oracle': expected some of"),
        (["--exog", "sun"], "no column 'sun'"),
        (["--country", "ZZ"], "country is 'ZZ'"),
        (["--timezone", "Mars/Base"], "timezone is 'Mars/Base'"),
        (["--models", "ensemble"], "ensemble needs"),
        (["--start", "tomorrow"], "tomorrow is not a day"),
        (["--out", "/proc/nowhere/x.csv", "--models", "ridge"], "cannot be written"),
    ],
)
def test_cli_evaluate__bad_input_gives_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    base = ["evaluate", "--prices", str(write(tmp_path / "p.csv")), "--target", "price"]
    assert main([*base, "--start", "2023-02-20", "--end", "2023-02-28", *options]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
