"""``python -m analysis`` is the installed ``metaopt`` command."""

from analysis.cli import main

main()
