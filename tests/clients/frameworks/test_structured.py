"""Structured output through the helpers of frameworks, with the built-in provider that honours schemas and tools."""

import instructor
import openai
from langchain_openai import ChatOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


class City(BaseModel):
    """A city."""

    name: str
    population: int


def test_instructor(gateway, key):
    client = instructor.from_openai(openai.OpenAI(base_url=f"http://{gateway.host}/v1", api_key=key))
    messages = [{"role": "user", "content": "Paris"}]
    city = client.chat.completions.create(model="echo", messages=messages, response_model=City)
    assert isinstance(city, City)


def test_langchain_structured_output(gateway, key):
    chat = ChatOpenAI(base_url=f"http://{gateway.host}/v1", api_key=key, model="echo")
    for method in ["json_schema", "function_calling"]:
        assert isinstance(chat.with_structured_output(City, method=method).invoke("Paris"), City), method


def test_pydantic_ai_agent(gateway, key):
    model = OpenAIChatModel("echo", provider=OpenAIProvider(base_url=f"http://{gateway.host}/v1", api_key=key))
    assert isinstance(Agent(model, output_type=City).run_sync("Paris").output, City)
