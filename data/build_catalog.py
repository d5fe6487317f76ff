#!/usr/bin/env python3
"""Derives catalog.json, the model facts and prices that Tollgate ships, from a published price list.

    data/build_catalog.py PATH/TO/model_prices.json [YYYY-MM-DD]

The list is litellm's `model_prices_and_context_window_backup.json` (see NOTICE). Prices become integers, nano-USD
per million tokens, computed from the decimal text of the list: no binary fraction is ever involved. The date is
that of the version string; the day of today if it is not given. Needs Python 3 and nothing else.
"""

import datetime
import decimal
import hashlib
import json
import pathlib
import re
import sys

# The list's provider names, by Tollgate's name of the vendor. What is not here is left out.
VENDORS = {
    "ai21": ["ai21"],
    "anthropic": ["anthropic"],
    "azure": ["azure", "azure_text"],
    "azure_ai": ["azure_ai"],
    "baseten": ["baseten"],
    "bedrock": ["bedrock", "bedrock_converse", "bedrock_mantle"],
    "cerebras": ["cerebras"],
    "cloudflare": ["cloudflare"],
    "cohere": ["cohere", "cohere_chat"],
    "dashscope": ["dashscope"],
    "databricks": ["databricks"],
    "deepinfra": ["deepinfra"],
    "deepseek": ["deepseek"],
    "fireworks": ["fireworks_ai", "fireworks_ai-embedding-models"],
    "gemini": ["gemini"],
    "groq": ["groq"],
    "hyperbolic": ["hyperbolic"],
    "lambda": ["lambda_ai"],
    "minimax": ["minimax"],
    "mistral": ["mistral", "codestral"],
    "moonshot": ["moonshot"],
    "nebius": ["nebius"],
    "novita": ["novita"],
    "nscale": ["nscale"],
    "nvidia": ["nvidia_nim"],
    "ollama": ["ollama"],
    "openai": ["openai", "text-completion-openai"],
    "openrouter": ["openrouter"],
    "ovhcloud": ["ovhcloud"],
    "perplexity": ["perplexity"],
    "sambanova": ["sambanova"],
    "scaleway": ["scaleway"],
    "together": ["together_ai"],
    "vercel": ["vercel_ai_gateway"],
    "vertex": ["vertex_ai"],  # and every provider that starts with `vertex_ai-`
    "voyage": ["voyage"],
    "watsonx": ["watsonx"],
    "xai": ["xai"],
    "zai": ["zai"],
}
# The list's modes, as operations. Others are left out.
OPERATIONS = {
    "chat": "chat",
    "responses": "chat",
    "completion": "completions",
    "embedding": "embeddings",
    "rerank": "rerank",
    "moderation": "moderations",
    "image_generation": "images",
    "image_edit": "images",
    "audio_transcription": "transcription",
    "audio_speech": "speech",
}
# Our names of rates, by the list's.
RATES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "input_cost_per_audio_token": "input_audio",
    "cache_read_input_audio_token_cost": "cache_read_audio",
    "output_cost_per_audio_token": "output_audio",
    "input_cost_per_image_token": "input_image",
    "output_cost_per_image_token": "output_image",
    "output_cost_per_reasoning_token": "output_reasoning",
}
# Service tiers, as vendors' answers name them, by the list's endings.
SERVICES = {"flex": "flex", "priority": "priority", "batches": "batch"}
# What is billed by the piece, as in `Usage.billable_units`.
UNITS = {
    "search": "web_search_requests",
    "input_cost_per_query": "search_units",
    "output_cost_per_image": "images",
    "input_cost_per_character": "characters",
    "input_cost_per_second": "seconds",
    "input_cost_per_request": "requests",
}
CAPABILITIES = {
    "supports_function_calling": "tools",
    "supports_parallel_function_calling": "parallel_tools",
    "supports_response_schema": "json_schema",
    "supports_reasoning": "reasoning",
    "supports_prompt_caching": "prompt_cache",
    "supports_web_search": "web_search",
    "supports_computer_use": "computer_use",
    "supports_assistant_prefill": "prefill",
}
INPUTS = {
    "supports_vision": "image",
    "supports_audio_input": "audio",
    "supports_video_input": "video",
    "supports_pdf_input": "document",
    "supports_embedding_image_input": "image",
}
# What an operation gives, where the list does not say.
GIVES = {"embeddings": "embedding", "images": "image", "speech": "audio"}
MODALITIES = ["text", "image", "audio", "video", "document", "embedding"]
NANOS_PER_MILLION = decimal.Decimal(10) ** 15
# Vendors whose models run on the operator's own machine: there a price of zero is a fact, not a gap.
FREE = {"ollama"}
# And operations that a vendor does not bill: https://developers.openai.com/api/docs/guides/moderation
FREE_OPERATIONS = {("openai", "moderations")}


def rate(value):
    """USD per token, as text, to nano-USD per million tokens. Drops only what is below 1e-15 USD."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    try:
        price = decimal.Decimal(value)
    except decimal.InvalidOperation:
        return None
    if not price.is_finite() or price < 0:
        return None
    return int((price * NANOS_PER_MILLION).quantize(decimal.Decimal(1), decimal.ROUND_HALF_UP))


def rates(row, suffix=""):
    found = {ours: rate(row.get(theirs + suffix)) for theirs, ours in RATES.items()}
    return {name: value for name, value in found.items() if value is not None}


def tiers(row):
    """Rates for prompts that are longer than so many tokens, shortest first; then those of other service tiers."""
    bounds = sorted({int(match[1]) for key in row if (match := re.search(r"_above_(\d+)k_tokens", key))})
    found = [{"above": bound * 1000, **rates(row, f"_above_{bound}k_tokens")} for bound in bounds]
    for suffix, service in SERVICES.items():
        for bound in [0, *bounds]:
            above = f"_above_{bound}k_tokens" if bound else ""
            if prices := rates(row, f"{above}_{suffix}"):
                found.append({"above": bound * 1000, "service": service, **prices})
    for tier in row.get("tiered_pricing") or []:
        start = int(decimal.Decimal(tier.get("range", [0])[0]))
        if prices := rates(tier):
            found.append({"above": start, **prices})
    return [tier for tier in found if set(tier) - {"above", "service"}]


def units(row):
    """What is billed beside tokens, in nano-USD for one."""
    search = row.get("search_context_cost_per_query") or {}
    # Vendors say how many searches there were, but not of which size; the medium one is their default.
    told = {**row, "search": search.get("search_context_size_medium")}
    found = {ours: rate(told.get(theirs)) for theirs, ours in UNITS.items()}
    return {name: value // 10**6 for name, value in found.items() if value}


def tokens(value):
    try:
        count = int(decimal.Decimal(value))
    except (decimal.InvalidOperation, TypeError, ValueError):
        return None
    return count if 0 < count < 2**40 else None


def modalities(row, operation):
    takes = set(row.get("supported_modalities") or []) | {"text"}
    takes |= {name for flag, name in INPUTS.items() if row.get(flag) is True}
    gives = set(row.get("supported_output_modalities") or [])
    gives |= {"audio"} if row.get("supports_audio_output") is True else set()
    takes |= {"audio"} if operation == "transcription" else set()
    gives |= set() if gives else {GIVES.get(operation, "text")}
    gives |= {"embedding"} if operation == "embeddings" else set()
    return [name for name in MODALITIES if name in takes], [name for name in MODALITIES if name in gives]


def vendor_of(provider):
    if provider.startswith("vertex_ai-"):
        return "vertex"
    return next((vendor for vendor, names in VENDORS.items() if provider in names), None)


def model_id(key, vendor, provider):
    """The vendor's own id of the model: the key without the provider's prefix. Tells too whether it had one."""
    for prefix in sorted({provider, vendor, *VENDORS[vendor]}, key=len, reverse=True):
        if key.startswith(prefix + "/"):
            return key[len(prefix) + 1 :], True
    return key, False


def responses_only(row):
    """Whether the model answers by OpenAI's Responses API and by no other for conversations."""
    paths = row.get("supported_endpoints") or []
    if "/v1/chat/completions" in paths or row.get("mode") not in ("chat", "responses"):
        return False
    return row["mode"] == "responses" or "/v1/responses" in paths


def entry(key, row):
    vendor = vendor_of(row.get("litellm_provider") or "")
    operation = OPERATIONS.get(row.get("mode"))
    if vendor is None or operation is None:
        return None
    model, prefixed = model_id(key, vendor, row["litellm_provider"])
    takes, gives = modalities(row, operation)
    base, steps = rates(row), tiers(row)
    if steps and steps[0]["above"] == 0 and "service" not in steps[0]:
        base = {**base, **{name: price for name, price in steps.pop(0).items() if name != "above"}}
    # A list that says "0" mostly means that nobody knew; an unknown price must never look like a free one.
    if (vendor, operation) in FREE_OPERATIONS:
        base = {"input": 0, "output": 0}
    elif not any(base.values()) and vendor not in FREE:
        base, steps = {}, []
    out = {"vendor": vendor, "model": model, "operation": operation}
    out["api"] = "responses" if responses_only(row) else None
    out["context_tokens"] = tokens(row.get("max_input_tokens"))
    out["max_output_tokens"] = tokens(row.get("max_output_tokens")) if operation != "embeddings" else None
    out["in"], out["out"] = takes, gives
    out["can"] = sorted(name for flag, name in CAPABILITIES.items() if row.get(flag) is True)
    out |= base
    out["tiers"] = steps
    out["units"] = units(row)
    return prefixed, {name: value for name, value in out.items() if value not in (None, [], {})}


def main(source, date):
    text = pathlib.Path(source).read_text("utf-8")
    found = {}
    # As text, so that 1.5e-07 stays what was written.
    for key, row in json.loads(text, parse_float=str).items():
        made = entry(key, row) if isinstance(row, dict) and key != "sample_spec" else None
        if made is None:
            continue
        prefixed, out = made
        place = (out["vendor"], out["model"])
        # Two keys may name one model; the one that says whose it is knows better.
        if place not in found or (prefixed and not found[place][0]):
            found[place] = (prefixed, out)
    lines = [json.dumps(found[place][1], separators=(",", ":")) for place in sorted(found)]
    body = ",\n".join(lines)
    version = f"{date}-{hashlib.sha256(body.encode()).hexdigest()[:8]}"
    target = pathlib.Path(__file__).with_name("catalog.json")
    target.write_text(f'{{"version":"{version}","models":[\n{body}\n]}}\n', "utf-8")
    print(f"{target.name}: {len(lines)} models, version {version}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2] if len(sys.argv) == 3 else datetime.date.today().isoformat())
