"""openai for Python, which finds Berth by OPENAI_BASE_URL and OPENAI_API_KEY."""

import openai

from expect import CHAT_MODEL, MESSAGES, same

client = openai.OpenAI()
QUESTION = [{"role": "user", "content": "count to 20"}]


def plain():
    # conformance 82, 103
    answer = client.chat.completions.create(model=CHAT_MODEL, messages=MESSAGES, temperature=0)
    same((answer.object, answer.model), ("chat.completion", CHAT_MODEL))
    assert answer.id.startswith("chatcmpl-") and answer.created > 0
    choice = answer.choices[0]
    same((choice.index, choice.message.role, choice.message.content, choice.finish_reason), (0, "assistant", "122", "stop"))
    usage = answer.usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    same(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
    # conformance 142
    assert answer._request_id


def stream():
    # conformance 100, 101, 102
    whole = client.chat.completions.create(model=CHAT_MODEL, messages=QUESTION, temperature=0)
    chunks = list(client.chat.completions.create(
        model=CHAT_MODEL, messages=QUESTION, temperature=0, stream=True, stream_options={"include_usage": True}))
    *spoken, last = chunks
    same({c.id for c in chunks}, {chunks[0].id})
    same({c.created for c in chunks}, {chunks[0].created})
    same([c.choices[0].delta.role for c in spoken if c.choices[0].delta.role], ["assistant"])
    same("".join(c.choices[0].delta.content or "" for c in spoken), whole.choices[0].message.content)
    same(spoken[-1].choices[0].finish_reason, "stop")
    same([c.usage for c in spoken if c.usage], [])
    same((last.choices, last.usage.completion_tokens), ([], whole.usage.completion_tokens))

    without = list(client.chat.completions.create(model=CHAT_MODEL, messages=QUESTION, temperature=0, stream=True))
    same([c.usage for c in without if c.usage], [])


def think():
    # conformance 95
    answer = client.chat.completions.create(
        model=CHAT_MODEL, messages=MESSAGES, temperature=0, extra_body={"enable_thinking": True})
    message = answer.choices[0].message
    same(message.content, "122")
    assert message.reasoning_content.startswith("37+85: 7+5=12"), message
    assert answer.usage.completion_tokens_details.reasoning_tokens > 0


def refuse():
    def refused(kind, code, call):
        try:
            call()
        except kind as error:
            same(error.code, code)
            assert error.request_id
        else:
            raise AssertionError(f"no {kind.__name__}")

    # conformance 3
    refused(openai.AuthenticationError, "invalid_api_key",
            lambda: client.with_options(api_key="sk-wrong").chat.completions.create(model=CHAT_MODEL, messages=MESSAGES))
    refused(openai.NotFoundError, "model_not_found",
            lambda: client.chat.completions.create(model="nobody", messages=MESSAGES))
    refused(openai.NotFoundError, "model_not_found",
            lambda: client.chat.completions.create(model="nobody", messages=MESSAGES, stream=True))
    refused(openai.BadRequestError, "invalid_parameter_error",
            lambda: client.chat.completions.create(model=CHAT_MODEL, messages=MESSAGES, temperature=2))


def models():
    listed = {m.id for m in client.models.list()}
    assert CHAT_MODEL in listed, listed
    same(client.models.retrieve(CHAT_MODEL).id, CHAT_MODEL)


def responses():
    # what api.md 9.8 says, as the client reads it
    whole = client.chat.completions.create(model=CHAT_MODEL, messages=QUESTION, temperature=0)
    answer = client.responses.create(model=CHAT_MODEL, input="count to 20", temperature=0, store=True)
    same((answer.object, answer.model, answer.status), ("response", CHAT_MODEL, "completed"))
    same(answer.output_text, whole.choices[0].message.content)
    same((answer.usage.input_tokens, answer.usage.output_tokens), (whole.usage.prompt_tokens, whole.usage.completion_tokens))
    assert answer.id.startswith("resp_") and answer._request_id

    with client.responses.stream(model=CHAT_MODEL, input=[{"role": "user", "content": "count to 20"}], temperature=0) as stream:
        events = list(stream)
        final = stream.get_final_response()
    same([e.sequence_number for e in events], list(range(len(events))))
    same((events[0].type, events[-1].type), ("response.created", "response.completed"))
    same("".join(e.delta for e in events if e.type == "response.output_text.delta"), answer.output_text)
    same((final.output_text, final.usage.output_tokens), (answer.output_text, answer.usage.output_tokens))

    thought = client.responses.create(model=CHAT_MODEL, input="37+85", temperature=0, reasoning={"effort": "low"})
    same([item.type for item in thought.output], ["reasoning", "message"])
    assert thought.output[0].content[0].text.startswith("37+85: 7+5=12"), thought
    assert thought.usage.output_tokens_details.reasoning_tokens > 0

    cut = client.responses.create(model=CHAT_MODEL, input="count to 20", temperature=0, max_output_tokens=4)
    same((cut.status, cut.incomplete_details.reason), ("incomplete", "max_output_tokens"))
    try:
        client.responses.create(model=CHAT_MODEL, input="37+85", previous_response_id=answer.id)
    except openai.BadRequestError as error:
        same(error.code, "invalid_parameter_error")
    else:
        raise AssertionError("previous_response_id was taken")


def complete():
    answer = client.completions.create(model=CHAT_MODEL, prompt="37+85", max_tokens=8, temperature=0, logprobs=2)
    choice = answer.choices[0]
    same((answer.object, answer.usage.completion_tokens, choice.finish_reason), ("text_completion", 8, "length"))
    same(("".join(choice.logprobs.tokens), len(choice.logprobs.top_logprobs[0])), (choice.text, 2))
    same(choice.logprobs.text_offset[0], 0)
    chunks = list(client.completions.create(model=CHAT_MODEL, prompt="37+85", max_tokens=8, temperature=0, stream=True))
    same("".join(c.choices[0].text for c in chunks), choice.text)


def embed():
    # conformance 104, 156: the client asks for base64 by itself
    texts = ["blue cat", "green cat", "37+85"]
    packed = client.embeddings.create(model=CHAT_MODEL, input=texts)
    floats = client.embeddings.create(model=CHAT_MODEL, input=texts, encoding_format="float")
    same([d.index for d in packed.data], [0, 1, 2])
    for a, b in zip(packed.data, floats.data):
        assert len(a.embedding) == len(b.embedding) > 1
        assert all(abs(x - y) < 1e-6 for x, y in zip(a.embedding, b.embedding))
    alone = client.embeddings.create(model=CHAT_MODEL, input=texts[1], encoding_format="float")
    assert all(abs(x - y) < 1e-4 for x, y in zip(alone.data[0].embedding, floats.data[1].embedding))
    assert packed.usage.prompt_tokens == packed.usage.total_tokens > 0


# conformance 105
plain()
stream()
think()
refuse()
models()
responses()
complete()
embed()
