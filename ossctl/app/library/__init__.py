"""The models on this machine: find, list, pull, verify and delete them."""
