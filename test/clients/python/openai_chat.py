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


# conformance 105
plain()
stream()
think()
refuse()
models()
