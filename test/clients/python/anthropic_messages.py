"""anthropic for Python, which finds Berth by ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY.

Berth has no Messages API yet: what must hold is that a client is told so, once, in a form that it understands.
When the gateway speaks the dialect, this script asks for the answer instead.
"""

import anthropic

from expect import CHAT_MODEL, MESSAGES, same

client = anthropic.Anthropic()
try:
    client.messages.create(model=CHAT_MODEL, max_tokens=64, messages=MESSAGES)
except anthropic.NotFoundError as error:
    same(error.status_code, 404)
    assert isinstance(error.body, dict), error.body  # conformance 7
    # conformance 142
    assert error.response.headers["x-request-id"] == error.body["request_id"]
else:
    raise AssertionError("it was answered: this script must now ask for 122")
