"""``python -m deployq``."""

from deployq.cli import main

main()
