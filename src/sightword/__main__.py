"""`python -m sightword` is the command."""

from sightword.cli import main

main()
