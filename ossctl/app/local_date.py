"""The date on this machine."""

import datetime as dt


def local_date() -> dt.date:
    """The current date in this machine's time zone."""
    return dt.datetime.now().astimezone().date()
