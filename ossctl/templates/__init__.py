"""The dialect of models that bring a Jinja chat template: Qwen, DeepSeek, SmolLM and many others."""
