"""Perplexities of a text, and the distance of a quantisation from its original, as in llama-perplexity."""
