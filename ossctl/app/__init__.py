"""What the commands do, without a terminal: nothing here prints."""
