"""Texts that strangers put into logs, names and alerts."""

HOSTILE = (
    '"; docker rm -f redis #',
    "$(touch /tmp/treewalk-was-here)",
    "{{ 7*7 }}",
    "../../etc/passwd",
    "one\nFLUSHALL\n",
    "one\r\nSET pwned 1\r\n",
    "\x1b[31mred\x1b[0m",
    "x" * 1_000_000,
)
