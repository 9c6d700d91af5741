"""The program's start."""

import signal


def main() -> None:
    """Run the command line."""
    # Ctrl-C ends the process as the shell expects, except where a command catches it to finish cleanly;
    # and from the first moment on, so before anything else is imported.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ossctl.cli.main import main as run

    run()


if __name__ == "__main__":
    main()
