"""Taking secrets out of text before it is stored, shown, or sent anywhere.

Own patterns: measured on the lines of tests/data/redaction.txt, general scanners are made for source code, and mark
hashes and identifiers that an operator needs (docs/decisions/030-redaction.md, 060-redaction-measured-again.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

MARK = "[redacted]"

_NAMES = (
    r"(?:pg|db|my|sql|ssh|ldap|bind|user|root|admin|app|redis|smtp|ftp|key|store|require|master)?pass(?:word|wd|phrase)"
    r"|pass(?:code)?|requirepass|masterauth|(?:pg|db|ldap|bind|user|root|admin)?pwd?|licen[cs]e[_-]?key|dockerconfigjson"
    r"|[jp]h?p?sess(?:ion)?id|sessid|secret|token|api[_-]?key|access[_-]?key|secret[_-]?key|private[_-]?key"
    r"|(?:auth|account|shared[_-]?access|signing|encryption|session)[_-]?(?:key|token|signature)|session[_-]?id"
    r"|client[_-]?secret|credentials?|refresh[_-]?token|id[_-]?token|bearer|webhook[_-]?secret|conn(?:ection)?[_-]?str(?:ing)?"
)
# At the beginning of a word: after no letter, or a capital after a small one (redisPassword).
_WORD = r"(?:(?<![A-Za-z])|(?<=(?-i:[a-z]))(?=(?-i:[A-Z])))"
# What follows a telling name and tells that it is about the secret: password_file, token_type.
_ABOUT = r"(?![_-]?(?:file|path|dir|length|count|rate|total|seconds|ttl|type|name|version|policy)\b)"
_HINTS = frozenset((
    "pass", "pw", "secret", "token", "key", "credential", "bearer", "sess", "signature", "conn", "masterauth", "dockerconfig"
))  # fmt: skip
_HARMLESS = re.compile(
    r"(?i)(?:true|false|null|none|nil|yes|no|on|off|empty|missing|required|expired|invalid|incorrect|wrong|unset"
    r"|not|is|was|has|set|changed|ok|valid|rotated|refreshed|revoked|failed|denied|rejected|disabled|enabled|unknown"
    r"|/(?:home|root|usr|var|etc|opt|run|tmp|srv|mnt|data|app|dev|Users|workspace)(?:/[\w.-]{1,100}){0,20}/?"
    r"|bearer|basic|digest|hidden|redacted|masked|default|pair|policy|authentication"
    r"|headers?|\d{1,9}(?:\.\d{1,9})?(?:ms|s|m|h|d|%)?|<[^>]*>|\*+|x+|\$\{?\w+\}?|\.\.\.)[.,;:]?"
)


def _unless_harmless(match: re.Match[str]) -> str:
    """The value of `name = value` marked, unless it only says how the secret is ("expired", "null", "***")."""
    head, value = match[1], match[2]
    bare = value.strip("\\\"'")
    quoted = value.startswith(('"', "'", "\\"))
    if not bare or _HARMLESS.fullmatch(bare) or bare.startswith(MARK[:-1]) or (len(bare) < 3 and not quoted):
        return match[0]
    quote = value[: len(value) - len(value.lstrip("\\\"'"))]
    return f"{head}{quote}{MARK}{quote}"


# What follows AUTH and is no user and no secret.
_ABOUT_AUTH = (
    r"(?i:failed|failure|fails?|required|requested|rejected|denied|ok|success\w*|succeeded|errors?|is|was|not|has|for|from"
    r"|with|by|to|on|at|in|of|the|and|or|timeout|timed|attempts?|plain|login|xoauth2|cram-md5|digest-md5|ntlm|gssapi"
    r"|scram-\S{1,20}|external|tls|ssl|default|locked|blocked|disabled|command|called|against|method|mechanisms?)(?![\w-])"
)
_ACL_SECRET = re.compile(r"(?<=[\s'\"])([><#!])(?!\[redacted\])[^\s'\"]{1,300}+")


def _acl(match: re.Match[str]) -> str:
    """The passwords (`>`, `<`) and their hashes (`#`, `!`) of a user of Redis marked."""
    return _ACL_SECRET.sub(rf"\1{MARK}", match[0])


@dataclass(frozen=True, slots=True)
class _Rule:
    """A pattern, tried only where one of its hints (in small letters) is in the text at all."""

    hints: frozenset[str]
    pattern: re.Pattern[str]
    put: str | Callable[[re.Match[str]], str] = MARK


def _rule(hint: str, pattern: str, put: str | Callable[[re.Match[str]], str] = MARK) -> _Rule:
    return _Rule(frozenset(hint.split("|")), re.compile(pattern), put)


_QUOTED = r"\\?\"(?:[^\"\\]|\\[^\"]){1,2000}+\\?\"|\\?'[^']{1,2000}+'"
_RULES: tuple[_Rule, ...] = (
    # a private key over several lines, whole or cut off
    _rule("-----begin", r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:(?!-----(?:BEGIN|END) )[\s\S]){0,20000}+(?:-----END [A-Z ]{0,30}-----)?"),
    # scheme://user:password@host; a password may hold @, or (against the rules) a slash, but a port is none
    _rule("://", r"(://[^\s:/@'\"]{0,200}):(?!\[redacted\]@)[^\s'\"/?#]{1,300}@", rf"\1:{MARK}@"),
    _rule("://", r"(://[^\s:/@'\"]{0,200}):(?!\[redacted\]@|\d{1,5}(?:[/?#]|$))[^\s@'\"]{1,300}@", rf"\1:{MARK}@"),
    _rule("://", r"(://)[^\s:/?#@'\"]{16,200}@", rf"\1{MARK}@"),
    _rule("jdbc:oracle", r"(?i)(jdbc:oracle:\w{1,10}:[^\s/@]{1,100}/)(?!\[redacted\])[^\s@]{1,200}(?=@)", rf"\1{MARK}"),
    # headers
    _rule("digest", r"(?i)(authorization['\"]?\s{0,3}[:=]\s{0,3}['\"]?digest\s{1,3})(?!\[redacted\])[^\r\n]{8,2000}+", rf"\1{MARK}"),
    _rule("auth plain|auth login|auth xoauth2|auth cram", r"(?i)\b(AUTH\s(?:PLAIN|LOGIN|XOAUTH2|CRAM-MD5)\s{1,3})[A-Za-z0-9+/=]{8,2000}+", rf"\1{MARK}"),
    _rule("\"auth\"", r"(?i)(\"auth\\?\"\s{0,3}:\s{0,3}\\?\")(?=[a-z]{0,60}(?:[0-9+/=]|(?-i:[A-Z])))[A-Za-z0-9+/=]{8,2000}+", rf"\1{MARK}"),
    _rule("bearer|basic|digest|negotiate", r"(?i)\b((?:bearer|basic|digest|negotiate)\s{1,5})(?=[a-z_.~-]{0,60}(?:[0-9+/]|(?-i:[A-Z])|={1,2}(?![^\s'\"])))[A-Za-z0-9+/_.~=-]{8,4000}+", rf"\1{MARK}"),
    _rule("authorization|x-api-key|x-auth-token|cookie|private-token", r"(?i)\b((?:(?:proxy-)?authorization|x-api-key|x-auth-token|set-cookie|cookie|private-token)['\"]?\s{0,3}[:=]\s{0,3}['\"]?(?:(?:token|apikey)\s{1,3}(?:token\s?=\s?)?['\"]?)?)(?!\s|(?:bearer|basic|digest|negotiate)\b)([^'\"\r\n]{1,4000}+)", _unless_harmless),
    # command lines
    _rule("redis-cli", r"\b(redis-cli\b[^\r\n\[]{0,100}?\s-a\s{1,3})(?!\[redacted\])\S{1,300}+", rf"\1{MARK}"),
    _rule("mysql|mariadb", r"\b((?:mysql|mariadb)\w{0,10}\s[^\r\n\[]{0,100}?(?<=\s)-p)(?!\[redacted\])[^\s-]\S{0,300}+", rf"\1{MARK}"),
    _rule("ldap", r"\b(ldap[a-z]{2,10}\s[^\r\n\[]{0,100}?(?<=\s)-w\s{1,3})(?!\[redacted\])\S{1,300}+", rf"\1{MARK}"),
    _rule("htpasswd", r"\b(htpasswd\s{1,3}-\w{0,5}b\w{0,5}\s{1,3}\S{1,100}\s{1,3}\S{1,60}\s{1,3})(?!\[redacted\])\S{1,300}+", rf"\1{MARK}"),
    _rule("smbclient|rpcclient", r"\b((?:smb|rpc)client\s[^\r\n\[]{0,100}?(?<=\s)-U\s{0,3}[^\s%]{1,60}%)(?!\[redacted\])\S{1,300}+", rf"\1{MARK}"),
    _rule("sshpass", r"\b(sshpass\s{1,3}-p\s{0,3})(?!\[redacted\])\S{1,300}+", rf"\1{MARK}"),
    _rule("curl|wget", r"\b((?:curl|wget)\s[^\r\n\[]{0,100}?(?<=\s)(?:-u|--user|--proxy-user)[\s=]{0,3}['\"]?[^\s:'\"]{1,100}:)(?!\[redacted\])[^\s'\"]{1,300}+", rf"\1{MARK}"),
    _rule("login", r"(?i)\b((?:docker|podman|nerdctl|buildah|skopeo|helm|crane|oras)\s{1,3}(?:registry\s{1,3})?login\s[^\r\n\[]{0,200}?(?<=\s)-p[\s=]{0,3}+)(?![\s-]|\[redacted\])\S{1,300}+", rf"\1{MARK}"),
    _rule("login", r"(?i)\b(login\s{1,3}\S{1,100}\s{1,3}password\s{1,3})(?!\[redacted\])\S{1,300}+", rf"\1{MARK}"),
    # hashes of passwords
    _rule("$2|$argon2|$5$|$6$|$y$|pbkdf2_|scram-sha", r"(?:\$(?:2[abxy]|5|6|y|argon2i?d?)\$|\bpbkdf2_\w{1,10}\$|\bSCRAM-SHA-\d{1,3}\$)[./A-Za-z0-9$=,:+]{20,400}+", MARK),
    # tokens that are known by their shape
    _rule("eyj", r"\beyJ[A-Za-z0-9_-]{8,2000}+\.[A-Za-z0-9_-]{4,4000}+(?:\.[A-Za-z0-9_-]{0,2000}+)?"),
    _rule("akia|asia|agpa|aida|aroa", r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA)[A-Z0-9]{12,20}\b"),
    _rule("ghp_|gho_|ghu_|ghs_|ghr_|github_pat_|gl", r"\b(?:gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{20,255}|gl(?:pat|rt|dt|ptt|cbt|oas|ft|soat|agent)-[A-Za-z0-9_-]{16,100}|gl(?:sa|c)_[A-Za-z0-9_+/=-]{30,200})"),
    _rule("hf_|lin_api_|dp.|sq0|atatt3|atctt3|age-secret-key-|whsec_|dckr_pat_|tskey-|gsk_|nvapi-|xkeysib-|pmak-", r"\b(?:hf_[A-Za-z0-9]{30,50}|lin_api_[A-Za-z0-9]{30,60}|dp\.(?:st|ct|pt|sa|scim|audit)\.[A-Za-z0-9_.-]{30,80}|sq0[a-z]{3}-[A-Za-z0-9_-]{20,60}|AT[AC]TT3[A-Za-z0-9_=-]{20,300}|AGE-SECRET-KEY-1[A-Z0-9]{30,80}|whsec_[A-Za-z0-9+/=_-]{20,100}|dckr_pat_[A-Za-z0-9_-]{20,60}|tskey-[a-z]{2,10}-[A-Za-z0-9-]{16,80}|gsk_[A-Za-z0-9]{30,80}|nvapi-[A-Za-z0-9_-]{30,100}|xkeysib-[A-Za-z0-9-]{30,120}|PMAK-[a-f0-9-]{30,80})"),
    _rule("sk", r"\bSK[0-9a-f]{32}\b"),
    _rule("routing_key|routing-key|integration_key", r"(?i)((?:routing|integration)[_-]key\\?['\"]?\s{0,3}[:=]\s{0,3}\\?['\"]?)[0-9a-z]{32}\b", rf"\1{MARK}"),
    _rule("otp|mfa|2fa", r"(?i)(?<![a-z])((?:t?otp|mfa|2fa)(?:[_-]code)?['\"]?\s{0,3}[:=]\s{0,3}['\"]?)\d{4,8}\b", rf"\1{MARK}"),
    _rule("community", r"(?i)\b(snmp[\w ]{0,20}community['\"]?\s{0,3}[:=]\s{0,3})(?!\[redacted\])[^\s,;]{3,100}+", rf"\1{MARK}"),
    _rule("xox|xapp", r"\b(?:xox[abeoprs]|xapp)-[A-Za-z0-9-]{8,250}"),
    _rule("hooks.slack.com", r"(https://hooks\.slack\.com/(?:services|workflows)/)[A-Za-z0-9/_-]{8,200}", rf"\1{MARK}"),
    _rule("webhook.office.com|hooks.zapier.com|/incomingwebhook/", r"(https://(?:[\w-]{1,60}\.)?(?:webhook\.office\.com/webhookb2|hooks\.zapier\.com/hooks/catch)/)[^\s'\"\[]{8,400}+", rf"\1{MARK}"),
    _rule("/api/webhooks/", r"(https://(?:\w{1,20}\.)?discord(?:app)?\.com/api/webhooks/)[A-Za-z0-9/_-]{8,200}", rf"\1{MARK}"),
    _rule(":aa", r"(?<!\d)\d{8,10}:AA[A-Za-z0-9_-]{30,40}"),
    _rule("sk-", r"\bsk-(?=[A-Za-z_-]{0,60}[0-9])(?:[A-Za-z]{2,12}-)?[A-Za-z0-9_-]{16,250}"),
    _rule("_live_|_test_", r"\b(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{10,100}"),
    _rule("aiza|ya29.", r"\b(?:AIza[A-Za-z0-9_-]{30,45}|ya29\.[A-Za-z0-9_-]{20,500})"),
    _rule("npm_|pypi-|dop_v1_|hvs.|hvb.|hvr.|sg.|dapi|shpat_", r"\b(?:npm_[A-Za-z0-9]{30,50}|pypi-[A-Za-z0-9_-]{30,300}|dop_v1_[a-f0-9]{40,80}|hv[sbr]\.[A-Za-z0-9_-]{20,200}|SG\.[A-Za-z0-9_-]{16,40}\.[A-Za-z0-9_-]{16,80}|dapi[a-f0-9]{30,40}|shpat_[a-f0-9]{30,40})"),
    # name = value, name: value, "name": "value", name => value
    _Rule(
        _HINTS,
        re.compile(
            rf"(?i){_WORD}(?<!\d{{12}}:)((?:{_NAMES}){_ABOUT}(?:[_-][A-Za-z0-9]{{1,20}})?\\?['\"]?\s{{0,3}}(?:=>|[:=])\s{{0,3}})"
            rf"({_QUOTED}|\{{[^{{}}\r\n]{{1,200}}+\}}(?=;)|(?!\[redacted\])[^\s'\",;&)}}\]]{{1,2000}}+)"
        ),
        _unless_harmless,
    ),
    # --name value, name 'value' as in SQL, <name>value</name>, name="password" value="…"
    _Rule(_HINTS, re.compile(rf"(?i)(--?(?:{_NAMES})\s{{1,5}})(?!-)({_QUOTED}|\S{{1,500}}+)"), _unless_harmless),
    _Rule(_HINTS, re.compile(rf"(?i){_WORD}((?:{_NAMES})\s{{1,3}})('[^']{{1,500}}+')"), _unless_harmless),
    _Rule(_HINTS, re.compile(rf"(?i)(<(?:[\w.-]{{0,40}}[._-])?(?:{_NAMES})>)([^<]{{1,500}}+)(?=</)"), _unless_harmless),
    _Rule(_HINTS, re.compile(rf"(?i)(name=['\"](?:[\w.-]{{0,40}}[._-])?(?:{_NAMES})['\"]\s{{1,3}}value=)({_QUOTED})"), _unless_harmless),
    # {"name": "API_TOKEN", "value": "…"} and the same as YAML, "AUTH" "…", ('x-api-key', '…'), password "…", password is …
    _Rule(_HINTS, re.compile(rf"(?i)\b((?:name|key)\\?['\"]?\s{{0,3}}[:=]\s{{0,3}}\\?['\"]?(?:[\w.-]{{0,40}}[._-])?(?:{_NAMES})\\?['\"]?[,;]?\s{{1,20}}\\?['\"]?value\\?['\"]?\s{{0,3}}[:=]\s{{0,3}})({_QUOTED}|(?!\[redacted\])[^\s'\",;}}]{{1,500}}+)"), _unless_harmless),
    _Rule(_HINTS | {"auth"}, re.compile(rf"(?i)([\"'](?:[\w.-]{{0,40}}[._-])?(?:{_NAMES}|auth)[\"']\s{{1,3}}(?:\"default\"\s{{1,3}})?)(\"[^\"]{{1,500}}+\")"), _unless_harmless),
    _Rule(_HINTS, re.compile(rf"(?i)([\"'](?:[\w.-]{{0,40}}[._-])?(?:{_NAMES})[\"']\s{{0,3}},\s{{0,3}})(?=.[^'\"]{{0,200}}\d)({_QUOTED})"), _unless_harmless),
    _Rule(frozenset(("pass",)), re.compile(r"(?i)\b(pass(?:word|wd|phrase)\s{1,3})(\"[^\"]{1,500}+\")"), _unless_harmless),
    _rule("apikey|api_key|api-key|api key", r"(?i)\b(api[ _-]?key\s{1,3}\")(?=[^\"]{0,100}\d)[^\"\[]{8,500}+(?=\")", rf"\1{MARK}"),
    _rule("set password", r"(?i)\b(set\s{1,3}password\b[^=\r\n]{0,100}=\s{0,3})('[^']{1,500}+')", _unless_harmless),
    _rule("user.info", r"(?i)\b(user\.info\s{0,3}[:=]\s{0,3}['\"]?[^\s:'\"]{1,100}:)(?!\[redacted\])[^\s'\"]{1,300}+", rf"\1{MARK}"),
    _Rule(_HINTS, re.compile(r"(?i)\b((?:password|passphrase|passcode|token|secret|api[ _-]key)\s{1,3}is\s{1,3})(?=\S{0,100}\d)([^\s'\"\[]{6,300}+)"), _unless_harmless),
    # commands and settings of Redis: in a line of their own, quoted, or with a digit in the secret
    _rule("requirepass|masterauth", r"(?im)((?:^\s{0,20}|['\"`]|\bconfig\s{1,3}set\s{1,3})(?:requirepass|masterauth)\s{1,20})((?!\[redacted\])[^\s'\"]{1,300}+)(?=['\"`]?\s{0,3}$)", _unless_harmless),
    _rule("requirepass|masterauth", r"(?i)\b((?:requirepass|masterauth)\s{1,20})(?=\S{0,100}\d)((?!\[redacted\])[^\s'\"]{1,300}+)", _unless_harmless),
    _rule("auth ", rf"(?m)(?<![\w-])(AUTH\s{{1,3}}(?!{_ABOUT_AUTH})[\w.@-]{{1,60}}\s{{1,3}})(?!{_ABOUT_AUTH})((?!\[redacted\])[^\s'\"]{{1,300}}+)(?=['\"`]?\s{{0,3}}$)", _unless_harmless),
    _rule("setuser", r"(?i)\bACL['\"]?\s{1,3}['\"]?SETUSER\b[^\r\n]{1,2000}+", _acl),
    _Rule(_HINTS, re.compile(r"(?im)\b((?:password|passphrase|passcode)\s{1,3}(?:for|of)\s{1,3}(?:(?:the\s{1,3})?(?:user|role|account|key|database)\s{1,3})?['\"]?[^\s:'\"\[]{1,80}+['\"]?\s{0,3}(?::|=|\bis\b)\s{0,3})(?=\S{0,100}\d|\S{1,100}\s{0,3}$)((?!\[redacted\])[^\s'\"]{1,300}+)"), _unless_harmless),
    _rule("auth default", r"\b(AUTH default )(?!\[redacted\])[^\s'\"]{1,300}+", rf"\1{MARK}"),
    _rule("identified", r"(?i)\b(identified\s{1,3}(?:with\s{1,3}\S{1,60}\s{1,3})?by\s{1,3}(?:password\s{1,3})?)('[^']{1,500}+'|\"[^\"]{1,500}+\")", rf"\1'{MARK}'"),
    _rule("identified", r"\b(IDENTIFIED\s{1,3}(?:WITH\s{1,3}\S{1,60}\s{1,3})?BY\s{1,3})(?!['\"\[]|(?:PASSWORD|RANDOM|VALUES)\b)[^\s'\",;]{1,300}+", rf"\1{MARK}"),
    _rule("identified", r"(?i)\b((?:(?:alter|create)\s{1,3}(?:user|role)\b|grant\s)[^\r\n\[]{1,200}?\bidentified\s{1,3}(?:with\s{1,3}\S{1,60}\s{1,3})?by\s{1,3})(?!['\"\[]|(?:password|random|values)\b)[^\s'\",;]{1,300}+", rf"\1{MARK}"),
    _rule("auth", r"(?i)\b(AUTH\s{1,3})(?!.\[redacted\])(?:\"[^\"]{6,500}+\"|'[^']{6,500}+')", rf"\1'{MARK}'"),
    # signed addresses
    _rule("sig=|signature=|code=|x-amz-|token=", r"(?i)([?&](?:X-Amz-Signature|X-Amz-Security-Token|X-Amz-Credential|X-Goog-Signature|code|signature|sig)=)(?!\[redacted\])[^&\s'\"]{8,2000}+", rf"\1{MARK}"),
    _rule("signature=", r"(?i)\b(signature=)(?=[a-z+/%_-]{0,60}[0-9])[A-Za-z0-9+/%_=-]{20,2000}+", rf"\1{MARK}"),
    _rule("key=", r"([?&]key=)(?=[A-Za-z_-]{0,60}[0-9])(?=[0-9_-]{0,60}[A-Za-z])(?![0-9a-f]{8}-[0-9a-f]{4}-)[A-Za-z0-9_-]{20,200}+(?=[&\s'\"]|$)", rf"\1{MARK}"),
)  # fmt: skip


_ALL_HINTS = tuple(dict.fromkeys(hint for rule in _RULES for hint in rule.hints))
_SHORT = 200  # characters up to which what was found is kept for the next time
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}+@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")


_emails = False  # whether this process takes out e-mail addresses where nothing else is said


def take_out_emails(on: bool) -> None:
    """Say for this process, once its treewalk.yaml is read, whether e-mail addresses are taken out too."""
    global _emails
    _emails = on


def redact(text: str, *, emails: bool | None = None) -> str:
    """The text with every secret replaced by a mark, and, where asked for (`redact.emails` in treewalk.yaml), every
    e-mail address.

    Linear in the text's length; applying it twice changes nothing.
    """
    found = _short(text) if len(text) <= _SHORT else _marked(text)
    wanted = _emails if emails is None else emails
    return _EMAIL.sub(MARK, found) if wanted and "@" in found else found


def short(text: str, most: int = 200) -> str:
    """A stranger's text as one line of at most `most` characters; redacted before it is cut, as half a secret looks
    like none."""
    return redact(" ".join(text.split()))[:most]


def _marked(text: str) -> str:
    low = text.lower()
    there = [hint for hint in _ALL_HINTS if hint in low]  # each is looked for once; most texts hold none
    if there:
        for rule in _RULES:
            if not rule.hints.isdisjoint(there):
                text = rule.pattern.sub(rule.put, text)
    return text


# Names, sources and reasons come again and again, and looking for hints is most of the work.
_short = lru_cache(maxsize=1024)(_marked)
