"""anthropic for Python, which finds Berth by ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY.

It puts the key into x-api-key, or as a token into Authorization.
"""

import os

import anthropic

from expect import CHAT_MODEL, MESSAGES, same

client = anthropic.Anthropic()
QUESTION = [{"role": "user", "content": "count to 20"}]
GREEDY = {"temperature": 0.0}  # this client has no argument for it any more


def ask(messages=MESSAGES, max_tokens=256, extra_body=GREEDY, client=client, **options):
    return client.messages.create(model=CHAT_MODEL, max_tokens=max_tokens, messages=messages, extra_body=extra_body, **options)


def plain():
    # conformance 157, 158, 159
    for other in (client, anthropic.Anthropic(api_key=None, auth_token=os.environ["ANTHROPIC_API_KEY"]),
                  client.with_options(default_headers={"anthropic-version": "2019-01-01"})):
        answer = ask(client=other)
        same([(b.type, b.text) for b in answer.content], [("text", "122")])
        same((answer.type, answer.role, answer.model, answer.stop_reason, answer.stop_sequence),
             ("message", "assistant", CHAT_MODEL, "end_turn", None))
        assert answer.id.startswith("msg_") and answer._request_id
        assert type(answer.usage.input_tokens) is int and answer.usage.output_tokens > 0
    same(ask(extra_body={"temperature": 1.5}).type, "message")
    parts = [{"role": "user", "content": [{"type": "text", "text": "37"}, {"type": "text", "text": "+85"}]}]
    same(ask(parts).content[0].text, "122")
    same(ask(max_tokens=1).stop_reason, "max_tokens")


def stop():
    # conformance 161
    answer = ask(QUESTION, stop_sequences=[" 6"])
    same((answer.content[0].text, answer.stop_reason), ("1 2 3 4 5", "end_turn"))


def think():
    # conformance 160
    answer = ask(thinking={"type": "enabled", "budget_tokens": 1024})
    same([b.type for b in answer.content], ["thinking", "text"])
    thought, said = answer.content
    assert thought.thinking.startswith("37+85: 7+5=12") and thought.signature == "", thought
    same(said.text, "122")
    assert answer.usage.output_tokens_details.thinking_tokens > 0, answer.usage
    same([b.type for b in ask(thinking={"type": "disabled"}).content], ["text"])
    again = MESSAGES + [{"role": "assistant", "content": answer.content}, {"role": "user", "content": "40+2"}]
    assert ask(again).content[0].text


def stream():
    # conformance 162
    for options in ({}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}):
        whole = ask(**options)
        with client.messages.stream(model=CHAT_MODEL, max_tokens=256, messages=MESSAGES, extra_body=GREEDY, **options) as events:
            pieces = list(events.text_stream)
            built = events.get_final_message()
        same("".join(pieces), whole.content[-1].text)
        same([b.to_dict() for b in built.content], [b.to_dict() for b in whole.content])
        same((built.stop_reason, built.model, built.role), (whole.stop_reason, whole.model, whole.role))
        prompt = lambda usage: usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens
        same((prompt(built.usage), built.usage.output_tokens), (prompt(whole.usage), whole.usage.output_tokens))
    names = [e.type for e in client.messages.create(model=CHAT_MODEL, max_tokens=64, messages=QUESTION, stream=True)]
    same((names[0], names[1], names[-3:]), ("message_start", "content_block_start", ["content_block_stop", "message_delta", "message_stop"]))
    same(set(names[2:-3]), {"content_block_delta"})


def count():
    # conformance 165
    for options in ({}, {"system": "Be short."}, {"thinking": {"type": "enabled", "budget_tokens": 64}}):
        used = ask(QUESTION, **options).usage
        counted = client.messages.count_tokens(model=CHAT_MODEL, messages=QUESTION, **options)
        same(counted.input_tokens, used.input_tokens + used.cache_read_input_tokens + used.cache_creation_input_tokens)


def refuse():
    # conformance 142, 164
    def refused(kind, name, code, status, call):
        try:
            call()
        except kind as error:
            same((error.status_code, error.body["type"], error.body["error"]["type"], error.body["code"]), (status, "error", name, code))
            assert error.body["error"]["message"]
            same(error.request_id, error.body["request_id"])
            same(error.response.headers["x-request-id"], error.request_id)
        else:
            raise AssertionError(f"no {kind.__name__}")

    refused(anthropic.NotFoundError, "not_found_error", "ModelNotFound", 404,
            lambda: client.messages.create(model="nobody", max_tokens=1, messages=MESSAGES))
    refused(anthropic.NotFoundError, "not_found_error", "ModelNotFound", 404,
            lambda: client.messages.create(model="nobody", max_tokens=1, messages=MESSAGES, stream=True))
    refused(anthropic.AuthenticationError, "authentication_error", "InvalidApiKey", 401,
            lambda: ask(client=client.with_options(api_key="sk-wrong")))
    refused(anthropic.BadRequestError, "invalid_request_error", "InvalidParameter", 400, lambda: ask(extra_body={"temperature": 2.0}))
    refused(anthropic.BadRequestError, "invalid_request_error", "InvalidParameter", 400,
            lambda: ask(tools=[{"type": "web_search_20250305", "name": "web_search"}]))
    # conformance 158
    refused(anthropic.BadRequestError, "invalid_request_error", "InvalidParameter", 400,
            lambda: client.post("/v1/messages", body={"model": CHAT_MODEL, "messages": MESSAGES}, cast_to=object))


def models():
    assert CHAT_MODEL in [m.id for m in client.models.list()]
    same(client.models.retrieve(CHAT_MODEL).display_name, CHAT_MODEL)


# conformance 105
plain()
stop()
think()
stream()
count()
refuse()
models()
