"""Which models are here, and how to get, check and delete one."""
