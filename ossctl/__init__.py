"""Chat and batch generation with OpenAI's gpt-oss models on your own hardware."""

__version__ = "0.1.0"
