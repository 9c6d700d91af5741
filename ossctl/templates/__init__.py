"""The dialect of models with a Jinja chat template, such as Qwen, DeepSeek and SmolLM."""
