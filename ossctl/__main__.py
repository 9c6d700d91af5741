"""The entry point."""

import signal


def main() -> None:
    """Run the command line."""
    # Ctrl-C ends the process as shells expect, unless a command handles it. During the imports Python's own
    # handler would print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ossctl.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
