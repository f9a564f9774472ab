"""Runs in TRL's environment: its own client of a vLLM server. Prints what it got, as JSON.

trl_client.py ADDRESS PROMPT_TOKEN_IDS SAMPLES
"""

import json
import sys

from trl.generation import vllm_client

# The client refuses to be made without vLLM, which it uses to send weights over NCCL only.
vllm_client.is_vllm_available = lambda: True


def main(address: str, prompt: str, samples: str) -> None:
    client = vllm_client.VLLMClient(base_url=address, connection_timeout=10.0)
    got = client.generate(
        prompts=[json.loads(prompt)],
        n=int(samples),
        temperature=1.0,
        top_p=1.0,
        max_tokens=12,
        generation_kwargs={"vllm_xargs": {"esamp_group": "trl"}},
    )
    print(json.dumps({name: got[name] for name in ("prompt_ids", "completion_ids", "logprobs")}))


if __name__ == "__main__":
    main(*sys.argv[1:])
