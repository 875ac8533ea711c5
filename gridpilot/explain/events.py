"""Facts about what happened last, and who ordered it: stops, commands, curtailments, alarms, the battery's turns.

Read from the ledger's entries when a question is about them. `last.*` is the newest of its kind (within the time that a
question names, where it names one), `coming.*` a curtailment that is still to come.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from gridpilot.explain.fact import Facts
from gridpilot.explain.facts import Book
from gridpilot.explain.when import When
from gridpilot.ledger.chain import Entry
from gridpilot.ledger.store import Ledger
from gridpilot.monitor import alarms, curtailments
from gridpilot.monitor.curtailments import Curtailment
from gridpilot.monitor.past import Past

MOST: Final = 2000  # entries that are gone through
OFF: Final = {"failsafe": "the fail-safe state", "estop": "the emergency stop"}
KEPT: Final = {"kept": "kept", "broken": "not kept", "unknown": "not metered throughout"}
RUNS_KW: Final = 0.5
REACH: Final = timedelta(hours=24)
COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "override": ("machines", "battery_kw", "hold", "curtail", "threshold"), "hold": ("hold",), "stop": ("estop",),
    "command": ("machines", "battery_kw", "hold", "curtail", "threshold", "estop", "estop_release", "resume"),
}  # fmt: skip

# kind -> the words that ask for it
KINDS: Final[Mapping[str, str]] = {
    "curtailment": r"curtail|power (?:was )?cut\b|\bbaseline\b",
    "override": r"\boverr(?:id|ode|ul)|\bby hand\b",
    "hold": r"\bholds?\b|\bheld\b",
    "stop": (
        r"\bstop(?:s|ped)?\b|\boutages?\b|fail-?safe|\bshut ?downs?\b|\be-?stop|\bemergency|\bblackouts?\b|\bdown\b|"
        r"\brecover"
    ),
    "alarm": r"\balarms?\b|\bwarnings?\b|\bproblems?\b|\bincidents?\b|\bwrong\b",
    "decision": r"\bdecisions?\b|\bcycles?\b|\bdecided?\b",
    "discharge": r"\bdischarg",
    "charge": r"\bcharg(?:e|ed|ing)\b",
    "switched": r"\b(?:power|served|on|off|runs?|ran|start(?:s|ed)?|switched|turned|c[ao]me back|"
    r"returned)\b",
    "command": r"\bcommands?\b|\borders?\b|\binstructions?\b|\bgave\b|\bordered\b",
}
_SOME = "|".join(KINDS.values())
_ALL_OFF = (
    r"\boutage|\bpower (?:was )?cut\b|\b(?:site|we|everything) (?:was |were |go |gone? |went )?(?:stop|off\b)|"
    r"fail-?safe|\be-?stop|"
    r"\bemergency stop|\bwe (?:were )?down\b|\bwere we down\b|\brecover|\bcurtailed\b|\bcurtailments?\b|\boverrid|"
    r"\bover(?:rode|ruled)|\boperators?\b.*\bcommand"
)
_COUNTED = r"overrides?|holds?|stops?|stopped|alarms?|outages?|curtailments?|curtailed|commands?"
_DONE = r"gave|order|command|overr|approv|issu|asked|request|stopp|curtail|trigger|caused|switched|turned"
_ASKED: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (  # what asks for something that happened, or is ordered, and not for what is so now
        r"\b(?:last|latest|most recent|newest|previous)\b(?! (?:night|week|hour|day|month|year|\d))(?: \S+)?? \S*"
        rf"(?:{_SOME})",
        r"\bwhen (?:did|was|were)\b(?!.*\bprice)|\bsince when\b",
        rf"\b(?:any|some)(?:thing|body|one)\b.*(?:{_ALL_OFF}|\bstop)",
        rf"\bwho\b.*\b(?:{_DONE})",
        r"\bcurtail\w*.*\b(?:kept|fulfilled|delivered|met)\b",
        r"\b(?:is|are|am)\b.*\bcurtailed\b(?!.*\bat once\b)|\bcurtailment\b.*\b(?:coming|active|in force|now)\b",
        r"\b(?:will|going to|next|planned|scheduled|upcoming)\b.*\bcurtail|\bnext decision\b",
        r"\b(?:alarms?|warnings?|problems?|incidents?|wrong)\b.*"
        r"\b(?:yesterday|last|this (?:week|morning)|night|today|so far)\b",
        r"\bwhat (?:has )?caused\b|\bhow often do you\b|\bwhen do you decide\b|\bwhen is the next decision\b",
        r"\b(?:reduce|curtail|cost)\w*\b.*\bcurtailment\b(?!.*\bcould\b)|\bbaseline\b",
        r"\bcurtailment\b.*\b(?:planned|scheduled|ends?|over|starts?|begins?)\b",
        rf"\bhow (?:many|often)\b.*\b(?:{_COUNTED})\b",
        rf"\b(?:was|were|did|had|has|have|been)\b.*(?:{_ALL_OFF})",
    )
)
_NOT_ASKED = re.compile(r"\bwhat if\b|\bcould\b|\bhow (?:do|can|should) (?:i|we)\b", re.IGNORECASE)
_ALL = re.compile(r"\beverything\b.*\boff\b|\bsite\b.*\boff\b|\bwe (?:were )?off\b", re.IGNORECASE)


def asked(question: str) -> list[str]:
    """The kinds of events that a question is about; none where it asks for nothing that has happened."""
    if _NOT_ASKED.search(question) or not any(pattern.search(question) for pattern in _ASKED):
        return []
    found = [kind for kind, pattern in KINDS.items() if re.search(pattern, question, re.IGNORECASE)]
    if _ALL.search(question) or re.search(r"\bwrong\b|\bproblem|\bincident", question, re.IGNORECASE):
        found.append("stop")
    extra = len(set(found)) > 1  # beside another kind these two are but its verb
    return [kind for kind in dict.fromkeys(found) if kind not in ("command", "switched") or not extra]


def _until(book: Book, asked: When | None) -> datetime | None:
    """The end of a time; None where it goes on: what came after the newest decision is of it, too."""
    return None if asked is None or asked.end >= book.snap.at else asked.end


def stops(book: Book, ledger: Ledger, asked: When | None) -> None:
    """The newest time for which everything was sent off, and how often that was in the time that is asked about."""
    since = None if asked is None else asked.start - REACH  # what began before that time may have gone on in it
    rows = ledger.entries("result", since=since, until=_until(book, asked), limit=MOST)
    runs = _offs(rows)
    if asked is not None:
        last = [row for row in rows if str(row.body["desired"]["origin"]) in OFF][:1]
        runs = [run for run in runs if (run[1:] or last)[-1].at > asked.start]
    book.kind = "result"
    book.put("stops.n", "times that everything was sent off", float(len(runs)))
    book.kind = "cycle"
    if not runs:
        return
    first, *ended = runs[-1]
    source = f"result entry {first.seq}"
    book.cite("last.stop", "what had switched everything off", OFF[first.body["desired"]["origin"]], first.at, source)
    if ended:
        at = ended[0].at
        book.cite(
            "last.stop_end", "first set points after it", f"{at:%Y-%m-%dT%H:%MZ}", at, f"cycle {ended[0].cycle_id}"
        )
    told = ledger.entries("alarm", since=first.at - timedelta(hours=4), until=first.at + timedelta(minutes=1), limit=1)
    for row in told:
        book.cite("last.stop_why", "alarm before it", str(row.body["message"]), row.at, f"alarm entry {row.seq}")


def _offs(newest_first: list[Entry]) -> list[list[Entry]]:
    """The times for which everything was sent off: the entry that began each, and that which ended it, if one did."""
    runs: list[list[Entry]] = []
    before = ""
    for row in reversed(newest_first):
        origin = str(row.body["desired"]["origin"])
        if origin in OFF and origin != before:
            runs.append([row])
        elif origin not in OFF and before in OFF:
            runs[-1].append(row)
        before = origin
    return runs


def interrupted(book: Book, ledger: Ledger, side: str, start: datetime, end: datetime) -> None:
    """For how long everything was sent off [min] and a curtailment was in force [h] from start to end, where it was."""
    rows = ledger.entries("result", since=start - REACH, until=end, limit=MOST)
    offs = [(run[0].at, run[1].at if run[1:] else end) for run in _offs(rows)]
    rows_ = (row for row in curtailments.events(ledger) if row.status in ("active", "ended"))
    cut = [(row.start, min(row.end, book.snap.at)) for row in rows_]
    for name, label, spans, size in (
        ("off", "time for which everything was sent off", offs, timedelta(minutes=1)),
        ("cut", "time of curtailments", cut, timedelta(hours=1)),
    ):
        inside = [(max(start, a), min(end, b)) for a, b in spans if a < end and b > start]
        if inside:
            length = _together(inside) / size
            book.put(f"{side}.{name}", label, length, "min" if name == "off" else "h", inside[0][0])


def _together(spans: Iterable[tuple[datetime, datetime]]) -> timedelta:
    """How long spans are together, what several of them cover counted once."""
    total, reached = timedelta(0), datetime.min.replace(tzinfo=UTC)
    for start, end in sorted(spans):
        total += max(timedelta(0), end - max(start, reached))
        reached = max(reached, end)
    return total


def command(book: Book, ledger: Ledger, kind: str, asked: When | None) -> None:
    """The newest command of a kind that was accepted, with who gave it and why."""
    until = _until(book, asked)
    for row in ledger.commands(kinds=COMMANDS.get(kind, ()), limit=200):
        at = row["created_at"]
        inside = asked is None or (asked.start <= at and (until is None or at < until))
        if row["status"] == "refused" or (not inside and kind != "stop"):  # the stop's own time is the wall clock's
            continue
        source = f"command {row['id']}"
        for name, label in (("kind", "what was commanded"), ("author", "who gave it"), ("reason", "why")):
            book.cite(f"last.{kind}_{name}", label, str(row[name]) or "none", row["created_at"], source)
        return


def curtailment(book: Book, ledger: Ledger, asked: When | None) -> None:
    """The newest curtailment that began, with what came of it, and the next one."""
    until = _until(book, asked)
    begun: list[Curtailment] = []
    coming: list[Curtailment] = []
    for row in curtailments.events(ledger):
        if row.start > book.snap.at:
            if row.status in ("scheduled", "active"):
                coming.append(row)
        elif row.status in ("active", "ended") and (
            asked is None or (row.end > asked.start and (until is None or row.start < until))
        ):
            begun.append(row)
    book.put("curtailments.n", "curtailments that began", float(len(begun)))
    if begun:
        newest = max(begun, key=lambda row: row.start)
        _event(book, "last", newest)
        _audit(book, ledger, newest)
    if coming:
        _event(book, "coming", min(coming, key=lambda row: row.start))


def _event(book: Book, side: str, row: Curtailment) -> None:
    key, source = f"{side}.curtailment", f"curtailment {row.id}"
    book.cite(key, "what for", row.reason, row.start, source)
    book.cite(f"{key}_status", "how it stands", row.status, row.start, source)
    book.cite(f"{key}_author", "who asked for it", row.author, row.start, source)
    book.cite(f"{key}_end", "its end", f"{row.end:%Y-%m-%dT%H:%MZ}", row.end, source)


def _audit(book: Book, ledger: Ledger, event: Curtailment) -> None:
    """What was metered of it."""
    found = curtailments.audit(ledger, event, book.snap.at)
    if found is None or not math.isfinite(found.mean_kw) or not math.isfinite(found.target_kw):
        return
    book.kind, start = "reading", found.event.start
    book.put("last.curtailment_target", "most that was to be drawn", found.target_kw, "kW", start)
    book.put("last.curtailment_baseline", "mean import in the hour before", found.baseline_kw, "kW", start)
    book.put("last.curtailment_kwh", "energy less than the baseline", found.reduced_kwh, "kWh", start)
    book.put("last.curtailment_mean", "mean that was metered after the ramp", found.mean_kw, "kW", start)
    if found.until >= found.event.end:
        book.put("last.curtailment_kept", "was it kept", KEPT[found.verdict], "", start)
    book.kind = "cycle"


def alarm(book: Book, ledger: Ledger, asked: When | None) -> None:
    """How many alarms stand, how many were raised, and the newest."""
    if not isinstance(ledger, Past):  # the list has no history of its own
        book.put("alarms.listed", "alarms on the list", float(len(alarms.listed(ledger))))
    since, until = None if asked is None else asked.start, _until(book, asked)
    rows = ledger.entries("alarm", since=since, until=until, limit=MOST)
    rows += [
        r for r in ledger.entries(alarms.ENTRY, since=since, until=until, limit=MOST) if r.body.get("event") == "raised"
    ]
    book.kind = "alarm"
    book.put("alarms.n", "alarms written to the ledger", float(len(rows)))
    book.kind = "cycle"
    if rows:
        newest = max(rows, key=lambda row: row.at)
        book.cite("last.alarm", "newest alarm", str(newest.body["message"]), newest.at, f"alarm entry {newest.seq}")


def decision(book: Book, ledger: Ledger, asked: When | None) -> None:
    """The newest decision, and when the next price begins."""
    snap = book.snap
    book.put("last.decision", "newest decision", f"{snap.at:%Y-%m-%dT%H:%MZ}")
    following = datetime.fromisoformat(snap.cycle["price_at"]) + timedelta(seconds=snap.step_s)
    book.put("coming.decision", "start of the next price", f"{following:%Y-%m-%dT%H:%MZ}", "", following)


def turn(book: Book, ledger: Ledger, kind: str, asked: When | None) -> None:
    """When the battery last charged or discharged."""
    sign = 1.0 if kind == "charge" else -1.0
    since, until = None if asked is None else asked.start, _until(book, asked)
    for row in ledger.entries("cycle", since=since, until=until, limit=300):
        kw = sign * float(row.body["dispatch"]["battery_kw"])
        if kw > RUNS_KW:
            book.put(f"last.{kind}", f"battery, last {kind}", kw, "kW", row.at)
            return


def switched(book: Book, ledger: Ledger, names: list[str], facts: Facts) -> None:
    """When each machine type, tenant or job last lost and got its power, with the price then."""
    rows = ledger.entries("cycle", limit=300) if names else []
    for name in names:
        kind = facts.word(f"machine.{name}.name") or facts.word(f"bidder.{name}.name")
        sent = [row.body["dispatch"] for row in rows]
        loads = [{**body["machines"], **body["tenants_kw"], **body["jobs_kw"]} for body in sent]
        ran = [float(kw.get(kind, 0.0)) > 0.0 for kw in loads]
        for row, now, before in zip(rows, ran, ran[1:], strict=False):
            key = f"last.{'on' if now else 'off'}_{name}"
            if now != before and key not in book.facts:
                label = f"{kind}: price when it was last switched {'on' if now else 'off'}"
                book.price(key, label, row.body["prices"]["energy_usd_per_mwh"], row.at)


def add(book: Book, ledger: Ledger, kinds: list[str], asked: When | None) -> None:
    """The facts of each of these kinds."""
    book.put("events.read", "kinds of events that were looked up", ", ".join(kinds))
    simple: Mapping[str, Callable[[Book, Ledger, When | None], None]] = {
        "curtailment": curtailment, "alarm": alarm, "decision": decision,
    }  # fmt: skip
    for kind in kinds:
        if kind in simple:
            simple[kind](book, ledger, asked)
        elif kind in ("charge", "discharge"):
            turn(book, ledger, kind, asked)
        elif kind != "switched":
            command(book, ledger, kind, asked)
        if kind == "stop":
            stops(book, ledger, asked)
