"""Models on this machine and on the Hugging Face Hub: catalogue, references, downloads, caches."""
