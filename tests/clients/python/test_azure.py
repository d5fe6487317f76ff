"""OpenAI's Python SDK in Azure's way: the model in the path, the key in `api-key`, a version in the query."""

import openai
import pytest

from gateway import APP

ASK = [{"role": "user", "content": "one two three"}]


def azure(gateway, **more):
    endpoint = f"http://{gateway.host}"
    settings = {"api_key": APP, "api_version": "2024-10-21", "max_retries": 0, **more}
    return openai.AzureOpenAI(azure_endpoint=endpoint, **settings)


@pytest.fixture(scope="module", params=["by model", "by deployment"])
def asked(request, gateway):
    """A client, and the model that it is given: with a deployment of its own, any."""
    if request.param == "by model":
        return azure(gateway), "echo"
    return azure(gateway, azure_deployment="echo"), "gpt-4o"


def test_chat_whole_and_streamed(asked):
    client, model = asked
    answer = client.chat.completions.create(model=model, messages=ASK)
    assert (answer.choices[0].message.content, answer.model) == ("one two three", "echo")
    chunks = client.chat.completions.create(model=model, messages=ASK, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "one two three"


def test_embeddings_and_completions(asked):
    client, model = asked
    assert len(client.embeddings.create(model=model, input="a", dimensions=8).data[0].embedding) == 8
    assert client.completions.create(model=model, prompt="a b").choices[0].text == "a b"


def test_responses_and_models_have_no_deployment_in_their_path(gateway):
    for client in (azure(gateway), azure(gateway, azure_deployment="unused")):
        assert client.responses.create(model="echo", input="a b").output_text == "a b"
        assert "echo" in [model.id for model in client.models.list()]


def test_the_v1_paths_are_those_of_openai(gateway):
    client = openai.OpenAI(base_url=f"http://{gateway.host}/openai/v1/", api_key=APP, max_retries=0)
    assert client.chat.completions.create(model="echo", messages=ASK).choices[0].message.content == "one two three"
    assert client.responses.create(model="echo", input="a b").output_text == "a b"
    assert client.models.retrieve("echo").id == "echo"


def test_an_unknown_deployment_and_a_wrong_key_are_refused(gateway):
    with pytest.raises(openai.NotFoundError) as unknown:
        azure(gateway, azure_deployment="nobody").chat.completions.create(model="echo", messages=ASK)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError):
        azure(gateway, api_key="wrong").chat.completions.create(model="echo", messages=ASK)
