"""`python -m tools.devices`."""

import sys

from tools.devices.options import parse
from tools.devices.session import check_devices


def main() -> None:
    options = parse()
    try:
        report = check_devices(options)
    except ValueError as error:
        sys.exit(f"devices: {error}")
    report.show()
    report.write(options.report)
    sys.exit(0 if report.ok else 1)


if __name__ == "__main__":
    main()
