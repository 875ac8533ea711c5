"""Every error that GridPilot raises on purpose.

GridPilotError
├── InputError            what a person gave us is wrong (file, option, site file): exit code 2
│   ├── ConfigError       a setting or a site file
│   ├── Unknown           there is nothing of that name
│   └── DataError         a price, bid or P&L file, or the body of an API reply
├── SourceError           a price source gave nothing usable
│   ├── Unreachable       no connection, a timeout, or 5xx after all retries
│   ├── RateLimited       429; carries `retry_after_s`
│   └── Refused           another 4xx; `credentials` is true for 401 and 403
├── GatewayError          machines could not be read or set; the outcome of a command may be unknown
├── PlanError             no engine of the planner could give a plan
├── SafetyError           a set of set points broke a limit and was not sent
├── Forbidden             who acts may not do this, or their sign-in is over
└── LedgerError           the ledger could not be written, or does not verify
    ├── NoLedger          there is none yet, or nothing is in it: no pilot has run
    ├── LeaseHeld         another pilot is the writer
    └── Conflict          a command was drawn on an older state than the present one

A message says what was seen, what was expected and what to do, in one line.
"""

from __future__ import annotations

INTERRUPTED = "ended by Ctrl-C before it was done"


class GridPilotError(Exception):
    """Root of the tree."""


class InputError(GridPilotError):
    """What a person gave is wrong; the command line ends with exit code 2."""


class ConfigError(InputError):
    """A setting or a site file is wrong."""


class Unknown(InputError):
    """There is nothing of that name."""


class DataError(InputError):
    """A data file or the body of a reply is wrong."""


class SourceError(GridPilotError):
    """A price source gave nothing usable."""


class Unreachable(SourceError):
    """No connection, a timeout, or 5xx after all retries."""


class RateLimited(SourceError):
    """HTTP 429."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Refused(SourceError):
    """A 4xx other than 408 and 429: not worth a retry."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    @property
    def credentials(self) -> bool:
        """True where the key is missing, wrong or not allowed."""
        return self.status in (401, 403)


class GatewayError(GridPilotError):
    """Machines could not be read or set."""


class PlanError(GridPilotError):
    """No engine could give a plan."""


class SafetyError(GridPilotError):
    """Set points broke a limit and were not sent."""


class Forbidden(GridPilotError):
    """Who acts may not do this."""


class LedgerError(GridPilotError):
    """The ledger could not be written or does not verify."""


class NoLedger(LedgerError):
    """There is no ledger yet, or nothing is in it."""


class LeaseHeld(LedgerError):
    """Another pilot is the writer."""


class Conflict(LedgerError):
    """A command was drawn on an older state than the present one."""


# What a model may raise on data that it can't digest: the caller leaves the model out and says so.
MODEL_ERRORS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    GridPilotError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)
