"""What the explainer refuses before it looks at any fact: to act, to tell a secret, to change its own rules."""

from __future__ import annotations

import re

ACT = (
    "I can only explain; I cannot switch, set or send anything. To act, open the Dispatch page: choose an override, "
    "its reason and its end, select it, look at its effect, then operate. The emergency stop is at the top of every "
    "page."
)
SECRET = "I tell only what the ledger says of the decisions. I hold no keys or secrets, and my rules stay as they are."

_VERBS = (
    r"dispatch|stop|start|switch|turn|set(?! points?\b)|shut|charge(?! level)|discharge|sell|buy|run|release|override|"
    r"kill|cancel|send|change(?! of)|increase|decrease|reduce|raise|lower(?! limit)|curtail|shed|enable|disable|"
    r"undo|revert|acknowledge|approve|restart|reset|delete|drop|insert|write|update(?! me)|hold(?! on)|activate|trip|"
    r"reboot|execute|put|"
    r"power (?:off|on|up|down)"
)
_ACT = re.compile(
    rf"^\W*(?:(?:please|now|ok|okay|hey|and|then|also|just|quickly|immediately|gridpilot|pilot)\W+)*"
    rf"(?:(?:can|could|would|will) you (?:please |now |just )?|i (?:want|need|order|command|would like) you to |"
    rf"(?:let'?s|you (?:must|should|have to|shall)|go ahead and|make sure to|do) )?(?:please )?(?:{_VERBS})\b"
    r"(?! (?:or|what|when|why|how|low|high|and sell|and discharge)\b)"
    rf"|\b(?:and|then|now) (?:please )?(?:dispatch|stop|switch off|switch on|shut down|turn off|turn on|set)\b",
    re.IGNORECASE,
)
_SECRET = re.compile(
    r"api[ _-]?keys?|secrets?\b|passwords?|passwd|credentials?|environment variables?|\.env\b|bearer|"
    r"\b(?:your|the|my|our|openai|mara|private|access|print|show|reveal|leak|give me|tell me) (?:\w+ )?keys?\b"
    r"(?! (?:risk|driver|fact|figure|number|reason|point|change))|"
    r"system prompt|your (?:prompt|instructions?|rules|guidelines)|\b(?:ignore|disregard|forget|bypass)\b|"
    r"\byou are (?:now|no longer)\b|\bact as\b|pretend|jailbreak|developer mode|role ?play|"
    r"!\[|\]\(|<\s*/?\s*[a-z]+|javascript:|https?:|www\.|markdown|drop table|select \*|base64|<\|",
    re.IGNORECASE,
)


def of(question: str) -> tuple[str, str] | None:
    """The topic and the words of a refusal; None for a question that may be answered."""
    if _SECRET.search(question):
        return "secret", SECRET
    if any(_ACT.search(part) for part in re.split(r"[.;!?\n,:]+", question)):
        return "act", ACT
    return None
