"""Texts that strangers put into logs, names and alerts."""

HOSTILE = (
    '"; docker rm -f redis #',
    "$(touch /tmp/treewalk-was-here)",
    "{{ 7*7 }}",
    "../../etc/passwd",
    "one\nFLUSHALL\n",
    "one\r\nSET pwned 1\r\n",
    "\x1b[31mred\x1b[0m",
    "nul\0byte",
    "half a character \ud800",
    "right\u202eleft",
    "line\u2028break",
    "-oProxyCommand=touch",
    "' OR 1=1 --",
    "%s%n%x {0.__class__} ${jndi:ldap://127.0.0.1/a}",
    "x" * 1_000_000,
)
