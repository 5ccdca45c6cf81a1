"""The installed ``metaopt`` command, which is also ``python -m analysis``."""

import sys


def main() -> None:
    """Run it.  Its imports take a while, so they are where Ctrl-C is quiet already."""
    try:
        from analysis.cli import app
        from metaopt.cli import invoke

        status = invoke(app)
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
