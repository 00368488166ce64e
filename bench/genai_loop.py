"""ONNX Runtime GenAI's own loops, for comparison with bare_loop.py. A fresh process a measurement.

python -P -m bench.genai_loop generator|engine FOLDER WORKLOAD_JSON    prints {"seconds", "tokens"}

`generator` runs the streams one after the other, `engine` all at once. Greedy; the end of a text is ignored.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime_genai as og

from bench.workload import Workload
from server.models.genai_config import read
from server.models.tokenizer import JsonTokenizer

Prompts = list[npt.NDArray[np.int32]]


def with_generator(model: og.Model, prompts: Prompts, tokens: int) -> int:
    """Tokens that came, with a Generator for each prompt."""
    count = 0
    for prompt in prompts:
        parameters = og.GeneratorParams(model)
        length = len(prompt) + tokens
        parameters.set_search_options(max_length=length, min_length=length, do_sample=False)
        generator = og.Generator(model, parameters)
        generator.append_tokens(prompt)
        for _ in range(tokens):
            generator.generate_next_token()
            count += len(generator.get_next_tokens())
    return count


def with_engine(engine: og.Engine, prompts: Prompts, tokens: int) -> int:
    """Tokens that came, with all prompts in one Engine."""
    requests = []
    for prompt in prompts:
        options = og.RequestOptions()
        options.set_max_session_tokens(len(prompt) + tokens)
        request = engine.create_request(options=options)
        turn = og.TurnOptions(request)
        turn.set_do_sample(False)
        turn.set_min_generated_tokens(tokens)
        turn.set_max_generated_tokens(tokens)
        request.begin_turn(prompt, turn)
        requests.append(request)
    events, count = engine.create_event_buffer(8 * len(prompts)), 0
    while engine.has_pending_requests():
        for event in engine.run(events):
            if event.flags & og.EngineEventFlags.FAILED:
                raise RuntimeError(event.error_code.name)
            count += bool(event.flags & og.EngineEventFlags.TOKEN)
    for request in requests:
        request.close()
    return count


def main() -> None:
    loop, folder, text = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    workload = Workload.from_json(text)
    config = read(folder)
    tokenizer = JsonTokenizer(folder, frozenset(config.model.eos_ids), config.model.bos_token_id)
    prompts = [np.array(tokenizer.encode(prompt, special=True), np.int32) for prompt in workload.prompts]
    options = og.Config(str(folder))
    options.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": workload.threads}}}}))
    model = og.Model(options)
    run, runner = (with_engine, og.Engine(model)) if loop == "engine" else (with_generator, model)
    run(runner, prompts, 4)  # warm up
    began = time.perf_counter()
    count = run(runner, prompts, workload.tokens)
    seconds = time.perf_counter() - began
    if count != workload.streams * workload.tokens:
        raise RuntimeError(f"{count} tokens came instead of {workload.streams} times {workload.tokens}")
    print(json.dumps({"seconds": seconds, "tokens": count}))


if __name__ == "__main__":
    main()
