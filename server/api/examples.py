"""An example request for every route that takes a body, by path; the names say what each shows."""

from typing import Any

_QUESTION = "What is the capital of France?"
_TURNS = [{"role": "user", "content": _QUESTION}]
_SCHEMA = {"type": "object", "properties": {"town": {"type": "string"}}, "required": ["town"]}
_WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a town.",
        "parameters": _SCHEMA,
    },
}
_CHAT: dict[str, Any] = {"model": "smollm2", "messages": _TURNS}
_RESPONSE: dict[str, Any] = {"model": "smollm2", "input": _QUESTION}
_TEXTS = ["A furnace melts iron.", "Ovens bake bread."]
_DOWNLOAD = {"model": {"Name": "smollm2-135m-instruct-generic-cpu:1"}}

EXAMPLES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "question": _CHAT | {"max_tokens": 32},
        "stream": _CHAT | {"max_tokens": 32, "stream": True, "stream_options": {"include_usage": True}},
        "form": _CHAT
        | {
            "max_tokens": 64,
            "response_format": {"type": "json_schema", "json_schema": {"name": "town", "schema": _SCHEMA}},
        },
        "tools": _CHAT | {"max_tokens": 64, "tools": [_WEATHER], "tool_choice": "required"},
    },
    "/v1/chat/completions/input_tokens": {"question": _CHAT},
    "/v1/chat/completions/tokenizer/encode/count": {"question": _CHAT},
    "/v1/completions": {
        "text": {"model": "smollm2", "prompt": "Once upon a time", "max_tokens": 32},
        "stream": {"model": "smollm2", "prompt": "Once upon a time", "max_tokens": 32, "stream": True},
        "several": {"model": "smollm2", "prompt": ["One,", "Eins,"], "n": 2, "max_tokens": 8},
        "scores": {"model": "smollm2", "prompt": "Rome is in Italy.", "echo": True, "logprobs": 5, "max_tokens": 0},
    },
    "/v1/responses": {
        "question": _RESPONSE | {"max_output_tokens": 32},
        "stream": _RESPONSE | {"max_output_tokens": 32, "stream": True},
        "background": _RESPONSE | {"max_output_tokens": 32, "background": True},
    },
    "/v1/responses/input_tokens": {"question": _RESPONSE},
    "/v1/embeddings": {"texts": {"model": "minilm", "input": _TEXTS}},
    "/v1/rerank": {"texts": {"model": "minilm", "query": "How is iron melted?", "documents": _TEXTS, "top_n": 1}},
    "/tokenize": {
        "text": {"model": "smollm2", "prompt": "Rome is in Italy."},
        "conversation": {"model": "smollm2", "messages": _TURNS},
    },
    "/detokenize": {"tokens": {"model": "smollm2", "tokens": [49, 50, 51]}},
    "/apply-template": {"question": {"model": "smollm2", "messages": _TURNS}},
    "/v1/messages": {
        "question": _CHAT | {"max_tokens": 64},
        "stream": _CHAT | {"max_tokens": 64, "stream": True},
    },
    "/v1/messages/count_tokens": {"question": _CHAT},
    "/api/chat": {"stream": _CHAT, "question": _CHAT | {"stream": False, "options": {"num_predict": 32}}},
    "/api/generate": {
        "prompt": {"model": "smollm2", "prompt": _QUESTION, "stream": False, "options": {"num_predict": 32}},
        "load": {"model": "smollm2"},
    },
    "/api/embed": {"texts": {"model": "minilm", "input": _TEXTS}},
    "/api/embeddings": {"text": {"model": "minilm", "prompt": _TEXTS[0]}},
    "/api/show": {"model": {"model": "smollm2"}},
    "/api/pull": {"model": {"model": "smollm2", "stream": False}},
    "/admin/load": {"model": {"model": "smollm2"}, "kept": {"model": "smollm2", "keep_alive": 600}},
    "/admin/unload": {"model": {"model": "smollm2"}},
    "/openai/download": {"model": _DOWNLOAD},
    "/openai/upgrade": {"model": _DOWNLOAD},
}
