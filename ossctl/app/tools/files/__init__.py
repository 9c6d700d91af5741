"""Functions that read and change files below one folder."""
