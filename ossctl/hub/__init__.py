"""Models on this machine and on the hub: catalogue, references, downloads, the local store."""
