"""One outside system a file, behind the Protocols of ports.py."""
