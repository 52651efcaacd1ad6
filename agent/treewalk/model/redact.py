"""Taking secrets out of text before it is stored, shown, or sent anywhere.

Own patterns: measured on the lines of tests/data/redaction.txt, general scanners are made for source code, and mark
hashes and identifiers that an operator needs (docs/decisions/030-redaction.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

MARK = "[redacted]"

_NAMES = (
    r"pass(?:word|wd|phrase|code)?|pwd|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key"
    r"|(?:auth|account|shared[_-]?access|signing|encryption|session)[_-]?(?:key|token|signature)|session[_-]?id"
    r"|client[_-]?secret|credentials?|refresh[_-]?token|id[_-]?token|bearer|webhook[_-]?secret|conn(?:ection)?[_-]?str(?:ing)?"
)
# At the beginning of a word: after no letter, or a capital after a small one (redisPassword).
_WORD = r"(?:(?<![A-Za-z])|(?<=(?-i:[a-z]))(?=(?-i:[A-Z])))"
_HINTS = ("pass", "pwd", "secret", "token", "key", "credential", "bearer", "session", "signature", "conn")
_HARMLESS = re.compile(
    r"(?i)(?:true|false|null|none|nil|yes|no|on|off|empty|missing|required|expired|invalid|incorrect|wrong|unset"
    r"|not|is|was|has|set|changed|ok|valid|rotated|refreshed|revoked|failed|denied|rejected|disabled|enabled|unknown"
    r"|bearer|basic|digest|hidden|redacted|masked|default|pair|policy|authentication"
    r"|\d{1,9}(?:ms|s|m|h|d|%)?|<[^>]*>|\*+|x+|\$\{?\w+\}?|\.\.\.)[.,;:]?"
)


def _unless_harmless(match: re.Match[str]) -> str:
    """The value of `name = value` marked, unless it only says how the secret is ("expired", "null", "***")."""
    head, value = match[1], match[2]
    bare = value.strip("\\\"'")
    quoted = value.startswith(('"', "'", "\\"))
    if _HARMLESS.fullmatch(bare) or bare.startswith(MARK) or (len(bare) < 3 and not quoted):
        return match[0]
    quote = value[: len(value) - len(value.lstrip("\\\"'"))]
    return f"{head}{quote}{MARK}{quote}"


@dataclass(frozen=True, slots=True)
class _Rule:
    """A pattern, tried only where one of its hints (in small letters) is in the text at all."""

    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    put: str | Callable[[re.Match[str]], str] = MARK


def _rule(hint: str, pattern: str, put: str | Callable[[re.Match[str]], str] = MARK) -> _Rule:
    return _Rule(tuple(hint.split("|")), re.compile(pattern), put)


_QUOTED = r"\\?\"(?:[^\"\\]|\\[^\"]){1,2000}+\\?\"|\\?'[^']{1,2000}+'"
_RULES: tuple[_Rule, ...] = (
    # a private key over several lines, whole or cut off
    _rule("-----begin", r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:(?!-----(?:BEGIN|END) )[\s\S]){0,20000}+(?:-----END [A-Z ]{0,30}-----)?"),
    # scheme://user:password@host; a password may hold @, or (against the rules) a slash, but a port is none
    _rule("://", r"(://[^\s:/@'\"]{0,200}):(?!\[redacted\]@)[^\s'\"/?#]{1,300}@", rf"\1:{MARK}@"),
    _rule("://", r"(://[^\s:/@'\"]{0,200}):(?!\[redacted\]@|\d{1,5}(?:[/?#]|$))[^\s@'\"]{1,300}@", rf"\1:{MARK}@"),
    _rule("://", r"(://)[^\s:/?#@'\"]{16,200}@", rf"\1{MARK}@"),
    # headers
    _rule("bearer|basic|digest|negotiate", r"(?i)\b((?:bearer|basic|digest|negotiate)\s{1,5})(?=[a-z_.~-]{0,60}(?:[0-9+/]|(?-i:[A-Z])|={1,2}(?![^\s'\"])))[A-Za-z0-9+/_.~=-]{8,4000}+", rf"\1{MARK}"),
    _rule("authorization|x-api-key|x-auth-token|cookie|private-token", r"(?i)\b((?:(?:proxy-)?authorization|x-api-key|x-auth-token|set-cookie|cookie|private-token)['\"]?\s{0,3}[:=]\s{0,3}['\"]?(?:(?:token|apikey)\s{1,3})?)(?!\s|(?:bearer|basic|digest|negotiate)\b)([^'\"\r\n]{1,4000}+)", _unless_harmless),
    # tokens that are known by their shape
    _rule("eyj", r"\beyJ[A-Za-z0-9_-]{8,2000}+\.[A-Za-z0-9_-]{4,4000}+(?:\.[A-Za-z0-9_-]{0,2000}+)?"),
    _rule("akia|asia|agpa|aida|aroa", r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA)[A-Z0-9]{12,20}\b"),
    _rule("ghp_|gho_|ghu_|ghs_|ghr_|github_pat_|glpat-", r"\b(?:gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255}|glpat-[A-Za-z0-9_-]{16,100})"),
    _rule("xox|xapp", r"\b(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{8,250}"),
    _rule("hooks.slack.com", r"(https://hooks\.slack\.com/(?:services|workflows)/)[A-Za-z0-9/_-]{8,200}", rf"\1{MARK}"),
    _rule("/api/webhooks/", r"(https://(?:\w{1,20}\.)?discord(?:app)?\.com/api/webhooks/)[A-Za-z0-9/_-]{8,200}", rf"\1{MARK}"),
    _rule(":aa", r"(?<!\d)\d{8,10}:AA[A-Za-z0-9_-]{30,40}"),
    _rule("sk-", r"\bsk-(?=[A-Za-z_-]{0,60}[0-9])(?:[A-Za-z]{2,12}-)?[A-Za-z0-9_-]{16,250}"),
    _rule("_live_|_test_", r"\b(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,100}"),
    _rule("aiza|ya29.", r"\b(?:AIza[A-Za-z0-9_-]{30,45}|ya29\.[A-Za-z0-9_-]{20,500})"),
    _rule("npm_|pypi-|dop_v1_|hvs.|sg.|dapi|shpat_", r"\b(?:npm_[A-Za-z0-9]{30,50}|pypi-[A-Za-z0-9_-]{30,300}|dop_v1_[a-f0-9]{40,80}|hvs\.[A-Za-z0-9_-]{20,200}|SG\.[A-Za-z0-9_-]{16,40}\.[A-Za-z0-9_-]{16,80}|dapi[a-f0-9]{30,40}|shpat_[a-f0-9]{30,40})"),
    # name = value, name: value, "name": "value", name => value
    _Rule(
        _HINTS,
        re.compile(
            rf"(?i){_WORD}((?:{_NAMES})(?:[_-][A-Za-z0-9]{{1,20}})?\\?['\"]?\s{{0,3}}(?:=>|[:=])\s{{0,3}})"
            rf"({_QUOTED}|(?!\[redacted\])[^\s'\",;&)}}\]]{{1,2000}}+)"
        ),
        _unless_harmless,
    ),
    # --name value, name 'value' as in SQL, <name>value</name>, name="password" value="…"
    _Rule(_HINTS, re.compile(rf"(?i)(--?(?:{_NAMES})\s{{1,5}})(?!-)({_QUOTED}|\S{{1,500}}+)"), _unless_harmless),
    _Rule(_HINTS, re.compile(rf"(?i){_WORD}((?:{_NAMES})\s{{1,3}})('[^']{{1,500}}+')"), _unless_harmless),
    _Rule(_HINTS, re.compile(rf"(?i)(<(?:[\w.-]{{0,40}}[._-])?(?:{_NAMES})>)([^<]{{1,500}}+)(?=</)"), _unless_harmless),
    _Rule(_HINTS, re.compile(rf"(?i)(name=['\"](?:[\w.-]{{0,40}}[._-])?(?:{_NAMES})['\"]\s{{1,3}}value=)({_QUOTED})"), _unless_harmless),
    _rule("identified", r"(?i)\b(identified\s{1,3}by\s{1,3}(?:password\s{1,3})?)('[^']{1,500}+'|\"[^\"]{1,500}+\")", rf"\1'{MARK}'"),
    _rule("auth", r"(?i)\b(AUTH\s{1,3})(?!.\[redacted\])(?:\"[^\"]{6,500}+\"|'[^']{6,500}+')", rf"\1'{MARK}'"),
    # signed addresses
    _rule("sig=|signature=|code=|x-amz-|token=", r"(?i)([?&](?:X-Amz-Signature|X-Amz-Security-Token|X-Amz-Credential|X-Goog-Signature|code|signature|sig)=)(?!\[redacted\])[^&\s'\"]{8,2000}+", rf"\1{MARK}"),
)  # fmt: skip


def redact(text: str) -> str:
    """The text with every secret replaced by a mark. Linear in the text's length; applying it twice changes nothing."""
    low = text.lower()
    for rule in _RULES:
        if any(hint in low for hint in rule.hints):
            text = rule.pattern.sub(rule.put, text)
    return text
