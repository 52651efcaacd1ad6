"""Taking secrets out of text before it is stored, shown, or sent anywhere.

Own patterns: measured on the lines of tests/data/redaction.txt, general scanners either wait for whole files of
source code or mark hashes and identifiers that an operator needs (docs/decisions/030-redaction.md).
"""

from __future__ import annotations

import re

MARK = "[redacted]"

_NAMES = (
    r"pass(?:word|wd|phrase|code)?|pwd|secret|token|api[_-]?key|apikey|access[_-]?key|secret[_-]?key|private[_-]?key"
    r"|auth[_-]?key|client[_-]?secret|credentials?|session[_-]?(?:id|token|key)|signing[_-]?key|encryption[_-]?key"
    r"|refresh[_-]?token|id[_-]?token|bearer|auth[_-]?token|webhook[_-]?secret|conn(?:ection)?[_-]?str(?:ing)?"
)
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----[\s\S]{0,20000}?(?:-----END [A-Z ]{0,30}-----|\Z)"
        ),
        MARK,
    ),
    # scheme://user:password@host
    (re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]{1,30}://)([^\s:/@'\"]{0,200}):([^\s@'\"]{1,300})@"), rf"\1\2:{MARK}@"),
    (re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]{1,30}://)([^\s:/@'\"]{16,200})@"), rf"\1{MARK}@"),
    # Authorization headers
    (re.compile(r"(?i)\b(bearer|basic|digest|negotiate)(\s+)(?=[A-Za-z0-9+/_.~=-]{8})(?=\S*[0-9+/_.=A-Z])[A-Za-z0-9+/_.~=-]{8,4000}"), rf"\1\2{MARK}"),
    (re.compile(r"(?i)\b((?:proxy-)?authorization|x-api-key|x-auth-token|set-cookie|cookie|private-token)(['\"]?\s*[:=]\s*['\"]?)(?!\s*(?:bearer|basic|digest|negotiate)\b)[^\s'\"][^'\"\r\n]{0,4000}"), rf"\1\2{MARK}"),
    # tokens that are known by their shape
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_-]{4,4000}(?:\.[A-Za-z0-9_-]{0,2000})?"), MARK),
    (re.compile(r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA)[A-Z0-9]{12,20}\b"), MARK),
    (re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255}|glpat-[A-Za-z0-9_-]{16,100})"), MARK),
    (re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{8,250}"), MARK),
    (re.compile(r"\bxapp-[A-Za-z0-9-]{8,250}"), MARK),
    (re.compile(r"https://hooks\.slack\.com/(?:services|workflows)/[A-Za-z0-9/_-]{8,200}"), f"https://hooks.slack.com/{MARK}"),
    (re.compile(r"https://(?:\w+\.)?discord(?:app)?\.com/api/webhooks/[A-Za-z0-9/_-]{8,200}"), f"https://discord.com/{MARK}"),
    (re.compile(r"\b\d{8,10}:AA[A-Za-z0-9_-]{30,40}"), MARK),
    (re.compile(r"\bsk-(?:[A-Za-z]{2,12}-)?[A-Za-z0-9_-]{16,250}"), MARK),
    (re.compile(r"\b(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,100}"), MARK),
    (re.compile(r"\bAIza[A-Za-z0-9_-]{30,45}"), MARK),
    (re.compile(r"\bya29\.[A-Za-z0-9_-]{20,500}"), MARK),
    (re.compile(r"\b(?:npm_[A-Za-z0-9]{30,50}|pypi-[A-Za-z0-9_-]{30,300}|dop_v1_[a-f0-9]{40,80}|hvs\.[A-Za-z0-9_-]{20,200}|SG\.[A-Za-z0-9_-]{16,40}\.[A-Za-z0-9_-]{16,80}|dapi[a-f0-9]{30,40}|shpat_[a-f0-9]{30,40})"), MARK),
    # name = value, name: value, "name": "value", --name value
    (
        re.compile(
            rf"(?i)(?<![A-Za-z])((?:[A-Za-z0-9]{{1,40}}[_.-]){{0,4}}(?:{_NAMES})(?:[_-][A-Za-z0-9]{{1,20}})?)(\\?['\"]?\s{{0,3}}(?:=>|[:=])\s{{0,3}})"
            r"(\\?\"(?:[^\"\\]|\\[^\"]){1,2000}\\?\"|'[^']{1,2000}'|(?!\[redacted\])[^\s'\",;&)}\]]{1,2000})"
        ),
        "",
    ),
    (re.compile(rf"(?i)(--?(?:{_NAMES})\s+)(?!-)(?:\"[^\"]{{1,500}}\"|'[^']{{1,500}}'|\S{{1,500}})"), rf"\1{MARK}"),
    (re.compile(r"(?i)\b(identified\s+by\s+(?:password\s+)?)('[^']{1,500}'|\"[^\"]{1,500}\")"), rf"\1{MARK}"),
    (re.compile(r"(?i)\b(AUTH\s+)(?:\"[^\"]{6,500}\"|'[^']{6,500}')"), rf"\1{MARK}"),
    (re.compile(r"(?i)(\bAccountKey=|\bSharedAccessSignature=|[?&]sig=)[A-Za-z0-9%+/=_-]{8,500}"), rf"\1{MARK}"),
    (re.compile(r"(?i)([?&](?:X-Amz-Signature|X-Amz-Security-Token|X-Amz-Credential|X-Goog-Signature|code|signature)=)[^&\s'\"]{8,2000}"), rf"\1{MARK}"),
)  # fmt: skip
_ASSIGNED = len(_RULES) - 6  # index of the name-value rule, which looks at the value as well
_HARMLESS = re.compile(
    r"(?i)(?:true|false|null|none|nil|yes|no|on|off|empty|missing|required|expired|invalid|incorrect|wrong|unset"
    r"|not|is|was|has|set|changed|ok|valid|rotated|refreshed|revoked|failed|denied|rejected|disabled|enabled|unknown"
    r"|\d{1,9}(?:ms|s|m|h|d|%)?|<[^>]*>|\*+|x+|\$\{?\w+\}?|\.\.\.)[.,;]?"
)


def redact(text: str) -> str:
    """The text with every secret replaced by a mark. Linear in the text's length; applying it twice changes nothing."""
    for index, (pattern, replacement) in enumerate(_RULES):
        text = pattern.sub(_assigned, text) if index == _ASSIGNED else pattern.sub(replacement, text)
    return text


def _assigned(match: re.Match[str]) -> str:
    name, between, value = match[1], match[2], match[3]
    bare = value.strip("\\\"'")
    if _HARMLESS.fullmatch(bare) or bare.startswith(MARK) or (len(bare) < 3 and not value.startswith(('"', "'"))):
        return match[0]
    quote = value[: len(value) - len(value.lstrip("\\\"'"))]
    return f"{name}{between}{quote}{MARK}{quote}"
