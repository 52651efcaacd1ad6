"""`python -m treewalk`."""

from treewalk.cli import main

main()
