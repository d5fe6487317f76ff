//! When two requests ask the same: everything that a recorded request and the gateway's may write differently, in one
//! table, each with its reason. What is not here must be equal, member by member.

use serde_json::{Map, Value, json};

use super::{
    changes::{
        camel_case, chat_choice, chat_message, chat_tool, chosen_tools, drop_blank, drop_encrypted,
        drop_nothings, effort_alone, flat_tool, gemini_lists, image_url, inner_ids, join_turns, lower,
        mode_of_names, one_stop, output_format, plain_base64, responses_input,
    },
    place::visit,
};
use crate::family::Family::{self, Chat, Cohere, Converse, Gemini, Messages, Responses};

/// What is done to both requests before they are compared.
enum Do {
    /// The member is not compared.
    Drop(&'static str),
    /// The member says with this value what its absence says.
    Absent(&'static str, fn(&Value) -> bool),
    /// The member has two names.
    Rename(&'static str, &'static str),
    /// The member's text stands for a list of one item: a member of that name, and of that type if the wire has types.
    Listed(&'static str, &'static str, &'static str),
    /// The member's text is JSON.
    Parsed(&'static str),
    /// Something of its own.
    With(fn(&mut Value)),
}

/// Wires, place, what is done there, and why.
type Rule = (&'static [Family], &'static str, Do, &'static str);

const ALL: &[Family] = &[Chat, Responses, Messages, Gemini, Converse, Cohere];

/// The table. Rules are applied from the first to the last.
static RULES: &[Rule] = &[
    (ALL, "", Do::Drop("model"), "stands for the exchange in a run"),
    (ALL, "", Do::Drop("stream"), "compared by what the caller gets"),
    (ALL, "", Do::Drop("stream_options"), "the gateway always asks for usage"),
    (ALL, "", Do::Drop("tollgate.lane"), "the mark by which a run asks for the typed lane"),
    (ALL, "", Do::With(drop_nothings), "null, an empty text and an empty list say what absence says"),
    // Chat completions.
    (&[Chat], "", Do::Rename("max_tokens", "max_completion_tokens"), "older name; by vendor"),
    (&[Chat], "", Do::Rename("functions", "tools"), "older name"),
    (&[Chat], "", Do::Rename("function_call", "tool_choice"), "older name"),
    (&[Chat], "", Do::Rename("user", "safety_identifier"), "older name"),
    (
        &[Chat],
        "messages[]",
        Do::With(chat_message),
        "a result is known by its call; instructions have two roles, by vendor",
    ),
    (&[Chat], "messages[]", Do::Listed("content", "text", "text"), "a text is a list of one"),
    (&[Chat], "messages[].tool_calls[].function", Do::Parsed("arguments"), "arguments are JSON"),
    (&[Chat], "messages[].tool_calls[]", Do::Drop("index"), "the place in the list"),
    (&[Chat], "messages[]", Do::Absent("prefix", |prefix| prefix == false), "the default"),
    (&[Chat], "messages[].content[]", Do::With(image_url), "Mistral takes an address as it is"),
    (&[Chat], "tools[]", Do::Absent("type", |kind| kind == "function"), "the default"),
    (&[Chat], "tools[]", Do::With(chat_tool), "older tools have no wrapping"),
    (&[Chat], "", Do::With(one_stop), "one stop is a list of one"),
    (&[Chat], "tool_choice", Do::With(chat_choice), "older and other spellings of one named tool"),
    (
        &[Chat],
        "response_format.json_schema",
        Do::Absent("name", |name| name == "response"),
        "OpenAI wants a name",
    ),
    // Responses.
    (&[Responses], "", Do::With(responses_input), "instructions are the first message, a text is the user's"),
    (&[Responses], "", Do::Rename("user", "safety_identifier"), "older name"),
    (&[Responses], "", Do::Drop("store"), "the gateway keeps nothing at OpenAI unless it is asked to"),
    (&[Responses], "", Do::Absent("reasoning", |it| *it == json!({})), "nothing is asked"),
    (&[Responses], "", Do::With(drop_encrypted), "the gateway asks for the state that it hands on"),
    (
        &[Responses],
        "tools[]",
        Do::Absent("strict", |strict| strict == false),
        "the gateway says what it means",
    ),
    (
        &[Responses],
        "tools[]",
        Do::Absent("parameters", |schema| *schema == json!({"type": "object", "properties": {}})),
        "a function without any",
    ),
    (&[Responses], "input[]", Do::Drop("id"), "ids of a server that keeps nothing"),
    (&[Responses], "input[]", Do::Drop("status"), "what is sent back is complete"),
    (&[Responses], "input[]", Do::Absent("type", |kind| kind == "message"), "a message needs none"),
    (&[Responses], "input[]", Do::Parsed("arguments"), "arguments are JSON"),
    (&[Responses], "tools[]", Do::With(flat_tool), "a function as chat completions have it"),
    // Anthropic's messages.
    (&[Messages], "", Do::Listed("system", "text", "text"), "a text is a list of one"),
    (&[Messages], "messages[]", Do::Listed("content", "text", "text"), "a text is a list of one"),
    (&[Messages], "messages[].content[]", Do::Listed("content", "text", "text"), "a text is a list of one"),
    (
        &[Messages],
        "messages[].content[]",
        Do::Absent("is_error", |is_error| is_error == false),
        "the default",
    ),
    (&[Messages], "tools[]", Do::Absent("type", |kind| kind == "custom"), "the default"),
    (&[Messages], "", Do::With(output_format), "the older place of a schema"),
    (&[Messages], "", Do::With(effort_alone), "an effort makes newer models think by themselves"),
    (&[Messages], "", Do::Drop("anthropic_version"), "Vertex has it in the body, others in a header"),
    // Gemini.
    (&[Gemini], "", Do::With(camel_case), "Google takes each name in both spellings"),
    (&[Gemini], "", Do::With(gemini_lists), "one item stands for a list of one, functions for one group"),
    (&[Gemini], "systemInstruction", Do::Drop("role"), "instructions have none"),
    (
        &[Gemini],
        "tools[].functionDeclarations[]",
        Do::Rename("parameters", "parametersJsonSchema"),
        "older name",
    ),
    (&[Gemini], "generationConfig", Do::Rename("responseSchema", "responseJsonSchema"), "older name"),
    (&[Gemini], "generationConfig.thinkingConfig", Do::With(lower), "levels in capitals"),
    (&[Gemini], "toolConfig.functionCallingConfig", Do::With(lower), "modes in small letters"),
    (&[Gemini], "contents[].parts[]", Do::With(inner_ids), "ids that the recording does not have"),
    (&[Gemini], "contents[].parts[].inlineData", Do::With(plain_base64), "base64 has two alphabets"),
    (
        &[Gemini],
        "contents[].parts[].functionResponse.parts[].inlineData",
        Do::With(plain_base64),
        "base64 has two alphabets",
    ),
    (
        &[Gemini],
        "toolConfig.functionCallingConfig",
        Do::With(mode_of_names),
        "named tools that need not be called",
    ),
    (&[Gemini], "", Do::Absent("systemInstruction", |it| *it == json!({"parts": [{}]})), "an empty text"),
    (&[Gemini], "", Do::With(join_turns), "neighbouring turns of one speaker are one"),
    (&[Gemini], "", Do::Absent("contents", |turns| *turns == json!([])), "an empty text"),
    (&[Gemini], "", Do::Absent("generationConfig", |config| *config == json!({})), "nothing is configured"),
    // Converse.
    (&[Converse], "", Do::Absent("inferenceConfig", |config| *config == json!({})), "nothing is configured"),
    (
        &[Converse],
        "messages[].content[].toolResult",
        Do::Absent("status", |status| status == "success"),
        "the default",
    ),
    (&[Converse], "messages[]", Do::With(drop_blank), "Bedrock refuses blank texts"),
    (&[Converse], "toolConfig", Do::With(chosen_tools), "only the tool that must be called is shown"),
    (
        &[Converse],
        "toolConfig",
        Do::Absent("toolChoice", |choice| *choice == json!({"auto": {}})),
        "the default",
    ),
    (&[Converse], "", Do::Absent("toolConfig", |config| *config == json!({})), "no tools"),
    (
        &[Converse],
        "",
        Do::Drop("additionalModelResponseFieldPaths"),
        "the gateway asks which stop sequence was met",
    ),
    (&[Converse], "", Do::Drop("modelId"), "stands in the path"),
    // Cohere.
    (&[Cohere], "messages[]", Do::Listed("content", "text", "text"), "a text is a list of one"),
    (&[Cohere], "messages[].tool_calls[].function", Do::Parsed("arguments"), "arguments are JSON"),
];

/// Brings a request into the form in which it is compared.
pub fn normal(family: Family, body: &Value) -> Value {
    let mut body = body.clone();
    for (families, place, action, _why) in RULES {
        if families.contains(&family) {
            visit(&mut body, place, &mut |value| apply(action, value));
        }
    }
    body
}

fn apply(action: &Do, value: &mut Value) {
    if let Do::With(change) = action {
        return change(value);
    }
    let Some(members) = value.as_object_mut() else { return };
    match action {
        Do::Drop(name) => drop(members.remove(*name)),
        Do::Absent(name, is_default) => {
            if members.get(*name).is_some_and(is_default) {
                members.remove(*name);
            }
        }
        Do::Rename(from, to) => {
            if let Some(value) = members.remove(*from) {
                members.insert((*to).to_owned(), value);
            }
        }
        Do::Listed(name, member, kind) => {
            if let Some(Value::String(text)) = members.get(*name) {
                let mut item = Map::from_iter([((*member).to_owned(), json!(text))]);
                if !kind.is_empty() {
                    item.insert("type".to_owned(), json!(kind));
                }
                members.insert((*name).to_owned(), json!([item]));
            }
        }
        Do::Parsed(name) => {
            let parsed = members.get(*name).and_then(Value::as_str);
            if let Some(parsed) = parsed.and_then(|text| serde_json::from_str(text).ok()) {
                members.insert((*name).to_owned(), parsed);
            }
        }
        Do::With(_) => {}
    }
}
