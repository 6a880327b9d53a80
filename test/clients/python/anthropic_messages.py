"""anthropic for Python, which finds Berth by ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY.

Berth has no Messages API yet: what must hold is that a client is told so, in a form that it understands.
When the gateway speaks the dialect, this script asks for the answer instead.
"""

import anthropic

from expect import CHAT_MODEL, MESSAGES, same

client = anthropic.Anthropic()


def refused(kind, name, client):
    # conformance 142, 164
    try:
        client.messages.create(model=CHAT_MODEL, max_tokens=64, messages=MESSAGES)
    except kind as error:
        same((error.body["type"], error.body["error"]["type"]), ("error", name))
        assert error.body["error"]["message"]
        same(error.request_id, error.body["request_id"])
        same(error.response.headers["x-request-id"], error.request_id)
    else:
        raise AssertionError("it was answered: this script must now ask for 122")


refused(anthropic.NotFoundError, "not_found_error", client)
refused(anthropic.AuthenticationError, "authentication_error", client.with_options(api_key="sk-wrong"))
