"""Official SDKs and frameworks, unmodified: each asks a model in a stream and returns what it was told."""

import json
import os

# It would ask the internet for prices.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import anthropic
import litellm
import openai
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from pydantic_ai.direct import model_request_stream_sync
from pydantic_ai.messages import ModelRequest, TextPart, ToolCallPart, UserPromptPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.tools import ToolDefinition

litellm.suppress_debug_info = True

PROMPT = "What is the weather in Paris?"
SCHEMA = {"type": "object", "properties": {}, "additionalProperties": True}
NAME = "get_weather"
FUNCTION = {"type": "function", "function": {"name": NAME, "description": "Tells the weather.", "parameters": SCHEMA}}
MESSAGES = [{"role": "user", "content": PROMPT}]
# No retries: a call that fails must be seen.
ONCE = {"max_retries": 0, "timeout": 20}


def told(text, calls):
    """What every client must agree on: the text, and each call's name and arguments."""
    return text, [(name, args if isinstance(args, dict) else json.loads(args or "{}")) for name, args in calls]


def openai_chat(url, key, model):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, **ONCE)
    with client.chat.completions.stream(model=model, messages=MESSAGES, tools=[FUNCTION]) as stream:
        message = stream.get_final_completion().choices[0].message
    calls = [(call.function.name, call.function.arguments) for call in message.tool_calls or []]
    return told(message.content or "", calls)


def openai_responses(url, key, model):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, **ONCE)
    tool = {"type": "function", "name": NAME, "parameters": SCHEMA, "strict": False}
    with client.responses.stream(model=model, input=PROMPT, tools=[tool]) as stream:
        response = stream.get_final_response()
    assert response.status == "completed", response.status
    calls = [(item.name, item.arguments) for item in response.output if item.type == "function_call"]
    return told(response.output_text, calls)


def anthropic_messages(url, key, model):
    client = anthropic.Anthropic(base_url=url, api_key=key, **ONCE)
    tool = {"name": NAME, "input_schema": SCHEMA}
    with client.messages.stream(model=model, max_tokens=4096, messages=MESSAGES, tools=[tool]) as stream:
        message = stream.get_final_message()
    text = "".join(block.text for block in message.content if block.type == "text")
    return told(text, [(block.name, block.input) for block in message.content if block.type == "tool_use"])


def langchain(chat):
    whole = None
    for chunk in chat.bind_tools([FUNCTION["function"]]).stream([HumanMessage(PROMPT)]):
        whole = chunk if whole is None else whole + chunk
    content = whole.content
    if not isinstance(content, str):
        content = "".join(part.get("text", "") for part in content if isinstance(part, dict) and part["type"] == "text")
    return told(content, [(call["name"], call["args"]) for call in whole.tool_calls])


def langchain_openai(url, key, model):
    return langchain(ChatOpenAI(base_url=f"{url}/v1", api_key=key, model=model, **ONCE))


def langchain_anthropic(url, key, model):
    return langchain(ChatAnthropic(base_url=url, api_key=key, model=model, max_tokens=4096, **ONCE))


def llama_index(url, key, model):
    settings = {"is_chat_model": True, "is_function_calling_model": True, "context_window": 8192}
    client = OpenAILike(api_base=f"{url}/v1", api_key=key, model=model, **settings, **ONCE)
    last = None
    for last in client.stream_chat([ChatMessage(role="user", content=PROMPT)], tools=[FUNCTION]):
        pass
    calls = client.get_tool_calls_from_response(last, error_on_no_tool_call=False)
    return told(last.message.content or "", [(call.tool_name, call.tool_kwargs) for call in calls])


def lite(model, url, key):
    chunks = litellm.completion(
        model=model, api_base=url, api_key=key, messages=MESSAGES, tools=[FUNCTION], stream=True, num_retries=0
    )
    message = litellm.stream_chunk_builder(list(chunks)).choices[0].message
    calls = [(call.function.name, call.function.arguments) for call in message.tool_calls or []]
    return told(message.content or "", calls)


def litellm_openai(url, key, model):
    return lite(f"openai/{model}", f"{url}/v1", key)


def litellm_anthropic(url, key, model):
    return lite(f"anthropic/{model}", url, key)


def pydantic_ai(model):
    tools = ModelRequestParameters(function_tools=[ToolDefinition(name=NAME, parameters_json_schema=SCHEMA)])
    request = [ModelRequest(parts=[UserPromptPart(PROMPT)])]
    with model_request_stream_sync(model, request, model_request_parameters=tools) as stream:
        for _ in stream:
            pass
        parts = stream.response.parts
    text = "".join(part.content for part in parts if isinstance(part, TextPart))
    return told(text, [(part.tool_name, part.args) for part in parts if isinstance(part, ToolCallPart)])


def pydantic_ai_chat(url, key, model):
    return pydantic_ai(OpenAIChatModel(model, provider=OpenAIProvider(base_url=f"{url}/v1", api_key=key)))


def pydantic_ai_responses(url, key, model):
    return pydantic_ai(OpenAIResponsesModel(model, provider=OpenAIProvider(base_url=f"{url}/v1", api_key=key)))


def pydantic_ai_anthropic(url, key, model):
    client = anthropic.AsyncAnthropic(base_url=url, api_key=key, **ONCE)
    return pydantic_ai(AnthropicModel(model, provider=AnthropicProvider(anthropic_client=client)))


CLIENTS = {
    client.__name__: client
    for client in [
        openai_chat,
        openai_responses,
        anthropic_messages,
        langchain_openai,
        langchain_anthropic,
        llama_index,
        litellm_openai,
        litellm_anthropic,
        pydantic_ai_chat,
        pydantic_ai_responses,
        pydantic_ai_anthropic,
    ]
}
