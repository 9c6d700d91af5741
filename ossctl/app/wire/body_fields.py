"""The fields of a body that are accepted without being supported, and why others are not.

They are those of OpenAI, Azure, Groq, Together, LiteLLM, vLLM, llama.cpp and Ollama. Supported fields are
those of a struct.
"""

import functools
from difflib import get_close_matches
from typing import Any

import msgspec

from ossctl.errors import RequestError

# Change no answer, whatever their value.
_IGNORED = frozenset({
    # who asks, and what a service keeps; `metadata` comes back in the record
    "metadata", "user", "safety_identifier", "store", "request_id", "session_id", "tags", "litellm_metadata",
    # prices, queues and routes
    "service_tier", "priority", "provider", "route", "models", "fallbacks", "custom_llm_provider", "api_base",
    "api_key", "api_version", "base_url", "extra_headers", "timeout", "num_retries", "max_retries",
    "drop_params", "id_slot",
    # caches; every prefix is shared anyway
    "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options", "cache_prompt", "cache_salt",
    "keep_alive", "cache", "caching", "kv_transfer_params", "ec_transfer_params",
    # hints that a service may or may not use
    "prediction", "verbosity", "guided_decoding_backend",
    # how an answer is delivered: whole, with reasoning, usage and settings in fields of their own
    "stream_options", "stream_interval", "usage", "include_reasoning", "separate_reasoning",
    "timings_per_token", "return_progress",
    # an extra check by another model, which there is none of
    "safety_model", "compliance", "moderation",
    # act only together with a field that is refused
    "mirostat_tau", "mirostat_eta", "early_stopping", "truncation_side",
})  # fmt: skip

# Change no answer if they have one of these values.
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "stream": (False,),
    "repeat_penalty": (1,),
    "length_penalty": (1,),
    "best_of": (1,),
    "use_beam_search": (False,),
    "echo": (False,),
    "suffix": (),
    "typical_p": (1,),
    "tfs_z": (1,),
    "top_a": (0,),
    "mirostat": (0,),
    "modalities": (["text"],),
    "reasoning_format": ("parsed", "hidden", "auto", "deepseek"),
    "context_length_exceeded_behavior": ("error",),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "add_special_tokens": (False, True),  # a prompt has its first token once, whoever adds it
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True, False),  # GGUF vocabularies have no such spaces
    "include_stop_str_in_output": (False,),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    "return_prompt_text": (False,),
    "disable_tool_validation": (False,),
    "watermarking": (False,),
}

_TEXT_ONLY = "the model reads and writes text only"
_NO_WEB = "nothing is looked up on the web"
_TEMPLATE = "an answer is a new message, in the model's own format"

# Would change the answer.
_REFUSED = {
    "audio": _TEXT_ONLY,
    "modalities": _TEXT_ONLY,
    "images": _TEXT_ONLY,
    "image": _TEXT_ONLY,
    "media_io_kwargs": _TEXT_ONLY,
    "mm_processor_kwargs": _TEXT_ONLY,
    "web_search_options": _NO_WEB,
    "search_parameters": _NO_WEB,
    "search_settings": _NO_WEB,
    "include_domains": _NO_WEB,
    "exclude_domains": _NO_WEB,
    "plugins": _NO_WEB,
    "documents": "write them into a message",
    "data_sources": "write what they say into a message",
    "chat_template": _TEMPLATE,
    "add_generation_prompt": _TEMPLATE,
    "continue_final_message": _TEMPLATE,
    "reasoning_format": "reasoning is never part of the content",
    "extra_body": "write its fields into the body",
    "options": "write its fields into the body",
    "best_of": "use n",
    "use_beam_search": "answers are sampled",
    "length_penalty": "answers are sampled",
    "echo": "an answer does not repeat its prompt",
    "suffix": "a text is continued, and nothing is inserted into it",
    "truncate_prompt_tokens": "prompts are never truncated",
    "context_length_exceeded_behavior": "prompts are never truncated",
    "transforms": "prompts are never truncated",
    "prompt_logprobs": "log probabilities are returned for answers only",
    "stop_token_ids": "use stop",
    "bad_words": "use logit_bias",
    "allowed_token_ids": "use logit_bias",
    "skip_special_tokens": "control tokens are not text",
    "include_stop_str_in_output": "an answer ends before its stop string",
    "think": "use reasoning_effort, max_reasoning_tokens or chat_template_kwargs",
    "thinking": "use reasoning_effort, max_reasoning_tokens or chat_template_kwargs",
    "reasoning": "use reasoning_effort or max_reasoning_tokens",
    "enable_thinking": "use chat_template_kwargs",
    "guided_whitespace_pattern": "JSON is written without a pattern for its whitespace",
}

_NEVER_EMPTY = frozenset({"body", "custom_id", "id", "messages", "method", "prompt", "url"})
_EMPTY: tuple[object, ...] = (None, "", [], {})
_MEANS_SOMETHING_EMPTY = frozenset({"web_search_options"})  # {} searches with the default options


def known_fields(fields: dict[str, Any], supported: tuple[str, ...], where: str = "") -> dict[str, Any]:
    """The `supported` fields, after null and what changes no answer have been taken out.

    Raises RequestError for other fields, whose path starts with `where`.
    """
    kept = {}
    for name, value in fields.items():
        if name in supported:
            if value is not None and (name in _NEVER_EMPTY or value not in ("", {})):
                kept[name] = value
        elif not _changes_nothing(name, value):
            raise RequestError(_refusal(name, value, supported, where))
    return kept


def _changes_nothing(name: str, value: object) -> bool:
    if value is None or name in _IGNORED:
        return True
    if name not in _NEUTRAL and name not in _REFUSED:
        return False
    empty = value in _EMPTY and name not in _MEANS_SOMETHING_EMPTY
    return empty or value in _NEUTRAL.get(name, ())


def _refusal(name: str, value: object, supported: tuple[str, ...], where: str) -> str:
    if name in _REFUSED:
        return f"{where}{name} is not supported: {_REFUSED[name]}"
    if name in _NEUTRAL:
        only = " or ".join(map(_json, _NEUTRAL[name]))
        return f"{name} is {_json(value)[:80]}, only {only} is supported"
    nearest = _nearest(name, supported)
    return f"{where}{name} is not supported" + (f"; did you mean {nearest}?" if nearest else "")


@functools.lru_cache(maxsize=256)
def _nearest(name: str, supported: tuple[str, ...]) -> str:
    known = [*supported, *sorted(_IGNORED), *_NEUTRAL]
    return next(iter(get_close_matches(name[:80].lower(), known, n=1, cutoff=0.75)), "")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
