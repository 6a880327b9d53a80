"""The new Client and AsyncClient of the DashScope SDK 2, with protocols native, openai and anthropic.

They find Berth by DASHSCOPE_API_KEY and a base URL, which is used as it is for every resource and protocol.
"""

import asyncio
import logging

import dashscope
from dashscope.v2 import errors

from expect import CHAT_MODEL, MESSAGES, URL, same, until

NATIVE, COMPATIBLE, ANTHROPIC = URL + "/api/v1", URL + "/compatible-mode/v1", URL + "/apps/anthropic"
QUESTION = [{"role": "user", "content": "count to 20"}]


def refused(kind, code, call):
    try:
        call()
    except kind as error:
        same(error.code, code)
        assert error.request_id
    else:
        raise AssertionError(f"no {kind.__name__}")


def unknown(client):
    """The code of a model that is not there, in the client's protocol."""
    return "model_not_found" if client.protocol.name == "openai" else "ModelNotFound"


def whole_life(client, suffix):
    # conformance 38, 133, 136, 137, 138, 139, 152
    name = "abacus-words-" + suffix
    made = client.deployments.create(model="abacus-words", capacity=1, plan="Lora", suffix=suffix)
    same((made.deployed_model, made.status, made.ready_capacity, made.plan), (name, "PENDING", 0, "lora"))
    assert made.creator == made.modifier and made.workspace_id and made.created_at
    same(client.deployments.get(name).deployed_model, name)
    # conformance 147, 148, 149
    events = [e.output for e in client.deployments.stream_events(name)]
    same((events[0]["deployed_model"], events[-1]["status"]), (name, "RUNNING"))
    refused(errors.NotFoundError, "NotFound", lambda: list(client.deployments.stream_events("never-was")))
    running = client.deployments.get(name)
    same(running.ready_capacity, running.capacity)
    listed = client.deployments.list(page_size=100)
    assert name in [d.deployed_model for d in listed.deployments] and listed.total_count >= 1
    same(client.deployments.list(page_no=1000).deployments, [])

    answer = client.chat.completions.create(model=name, messages=MESSAGES, temperature=0.0)
    same(answer.output_text, "The answer is 122.")

    same(client.deployments.delete(name).status, "DELETING")
    # conformance 76, 77
    refused(errors.NotFoundError, unknown(client),
            lambda: client.chat.completions.create(model=name, messages=MESSAGES))
    def gone():
        try:
            client.deployments.get(name)
        except errors.NotFoundError as error:
            same((error.code, error.message), ("NotFound", "Not found."))
            return True
    until(name + " is gone", gone)


def change(client, suffix):
    # conformance 135
    made = client.deployments.create(model="abacus", capacity=1, plan="mu", suffix=suffix,
                                     deploy_spec={"template_id": "MU1"}, billing_method="POST_PAY")
    name = made.deployed_model
    same([e.output["status"] for e in client.deployments.stream_events(name)][-1], "RUNNING")
    # conformance 68, 73, 137
    scaled = client.deployments.scale(name, capacity=2)
    same((scaled.status, scaled.capacity, scaled.ready_capacity), ("UPDATING", 2, 1))
    same([e.output["status"] for e in client.deployments.stream_events(name)][-1], "RUNNING")
    same(client.deployments.get(name).ready_capacity, 2)
    # conformance 70
    refused(errors.BadRequestError, "InvalidParameter", lambda: client.deployments.scale(name, capacity=1000))
    same(client.deployments.delete(name).status, "DELETING")


def chat(client):
    # conformance 82, 88, 92, 95, 101
    plain = client.chat.completions.create(model=CHAT_MODEL, messages=QUESTION, temperature=0.0)
    same(plain.choices[0].finish_reason, "stop")
    same(plain.usage.total_tokens, plain.usage.input_tokens + plain.usage.output_tokens)
    chunks = list(client.chat.completions.create(model=CHAT_MODEL, messages=QUESTION, temperature=0.0, stream=True))
    same("".join(c.delta.content or "" for c in chunks if c.delta), plain.output_text)
    cumulative = list(client.chat.completions.create(
        model=CHAT_MODEL, messages=QUESTION, temperature=0.0, stream=True, incremental_output=False))
    same([c.delta.content for c in cumulative if c.delta and c.delta.content][-1], plain.output_text)

    thinking = {"enable_thinking": True}
    if client.protocol.name == "anthropic":
        thinking = {"parameters": {"thinking": {"type": "enabled", "budget_tokens": 1024}}}
    thought = client.chat.completions.create(model=CHAT_MODEL, messages=MESSAGES, temperature=0.0, **thinking)
    same(thought.output_text, "122")
    assert thought.choices[0].message.reasoning_content.startswith("37+85: 7+5=12"), thought
    # conformance 153
    parts = [{"role": "user", "content": [{"type": "text", "text": "37"}, {"type": "text", "text": "+85"}]}]
    same(client.chat.completions.create(model=CHAT_MODEL, messages=parts, temperature=0.0).output_text, "122")


def refuse(client):
    openai = client.protocol.name == "openai"
    refused(errors.NotFoundError, unknown(client),
            lambda: client.chat.completions.create(model="nobody", messages=MESSAGES))
    refused(errors.NotFoundError, unknown(client),
            lambda: list(client.chat.completions.create(model="nobody", messages=MESSAGES, stream=True)))
    refused(errors.BadRequestError, "invalid_parameter_error" if openai else "InvalidParameter",
            lambda: client.chat.completions.create(model=CHAT_MODEL, messages=MESSAGES, temperature=2.0))
    # conformance 2, 3
    refused(errors.AuthenticationError, "InvalidApiKey", lambda: client.deployments.get("never-was", api_key="sk-wrong"))
    # conformance 18
    refused(errors.BadRequestError, "InvalidParameter",
            lambda: client.deployments.create(model="abacus", capacity=1, plan="mu"))


def embed(client):
    # conformance 104, 152
    texts = ["blue cat", "green cat"]
    got = client.embeddings.create(model=CHAT_MODEL, input=texts)
    same([e.index for e in got.embeddings], [0, 1])
    assert len(got.embeddings[0].embedding) == len(got.embeddings[1].embedding) > 1
    counted = client.tokenization.count(model=CHAT_MODEL, messages=QUESTION)
    asked = client.chat.completions.create(model=CHAT_MODEL, messages=QUESTION, temperature=0.0)
    assert counted.input_tokens > 0
    if client.protocol.name != "anthropic":  # which counts a prompt without what was cached
        same(counted.input_tokens, asked.usage.input_tokens)


def models(client, base):
    # conformance 150
    assert CHAT_MODEL in [m.model for m in client.models.list(page_size=100).models]
    if base == NATIVE:
        same(client.models.get(CHAT_MODEL).model, CHAT_MODEL)
        refused(errors.NotFoundError, "Model.NotExist", lambda: client.models.get(CHAT_MODEL[:-1]))


def collide_once():
    # conformance 143: a conflict is not worth a retry
    class Requests(logging.Handler):
        said = []

        def emit(self, record):
            self.said.append(record.getMessage())

    same_again = dict(model="abacus-words", capacity=1, plan="lora", suffix="once")
    with dashscope.Client(base_url=NATIVE) as client:
        client.deployments.create(**same_again)
        logger = logging.getLogger("httpx")
        logger.setLevel(logging.INFO)
        logger.addHandler(requests := Requests())
        refused(errors.APIStatusError, "Conflict", lambda: client.deployments.create(**same_again))
        logger.removeHandler(requests)
        assert len(requests.said) == 1 and "409" in requests.said[0], requests.said
        client.deployments.delete("abacus-words-once")


async def asynchronous():
    async with dashscope.AsyncClient(base_url=NATIVE) as client:
        made = await client.deployments.create(model="abacus-shout", capacity=1, plan="lora", suffix="async")
        same((made.deployed_model, made.status), ("abacus-shout-async", "PENDING"))
        same([e.output["status"] async for e in client.deployments.stream_events(made.deployed_model)][-1], "RUNNING")
        answer = await client.chat.completions.create(model=made.deployed_model, messages=MESSAGES, temperature=0.0)
        same(answer.output_text, "122!!!")
        same((await client.deployments.delete(made.deployed_model)).status, "DELETING")
        same((await client.deployments.get(CHAT_MODEL)).status, "RUNNING")
        answer = await client.chat.completions.create(model=CHAT_MODEL, messages=MESSAGES, temperature=0.0)
        same(answer.output_text, "122")
        stream = await client.chat.completions.create(model=CHAT_MODEL, messages=MESSAGES, temperature=0.0, stream=True)
        same("".join([c.delta.content or "" async for c in stream if c.delta]), "122")


# conformance 105
for number, (base, protocol) in enumerate([
        (NATIVE, "native"), (NATIVE, "openai"), (COMPATIBLE, "openai"), (NATIVE, "anthropic"), (ANTHROPIC, "anthropic")]):
    with dashscope.Client(base_url=base, protocol=protocol) as client:
        whole_life(client, f"p{number}")
        change(client, f"m{number}")
        chat(client)
        refuse(client)
        models(client, base)
        embed(client)
collide_once()
asyncio.run(asynchronous())
