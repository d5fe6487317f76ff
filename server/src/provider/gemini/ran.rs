//! Calls that Gemini ran itself, and their results: code it executed, searches it made.

use serde::Deserialize;
use serde_json::value::RawValue;
use tollgate_api::v1::{Part, ToolCall, ToolResult, part::Kind, tool_call::Input};

use crate::provider::json::{Text, read, write::compact};

const CODE: &str = "executableCode";
const CODE_RESULT: &str = "codeExecutionResult";

/// A call, or the result of one.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ran<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    tool_type: Text<'a>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    #[serde(borrow)]
    outcome: Text<'a>,
    #[serde(borrow)]
    output: Text<'a>,
}

/// Reads `executableCode` or `toolCall`: the call, its id empty if it has none, and its input.
pub(super) fn call(name: &str, value: &str) -> (ToolCall, String) {
    let ran: Ran<'_> = read(Some(value));
    let is_code = name == CODE;
    let call = ToolCall {
        id: ran.id.0.into_owned(),
        name: if is_code { "code_execution".to_owned() } else { ran.tool_type.0.into_owned() },
        input: Some(Input::ArgumentsJson(String::new())),
        executed_upstream: true,
    };
    let input = if is_code { value } else { ran.args.map_or("{}", RawValue::get) };
    (call, compact(input))
}

/// Reads `codeExecutionResult` or `toolResponse`; one without an id belongs to the last call.
pub(super) fn result(name: &str, value: &str, last_call: &str) -> ToolResult {
    let ran: Ran<'_> = read(Some(value));
    let is_code = name == CODE_RESULT;
    let text = match ran.response {
        Some(response) if !is_code => compact(response.get()),
        _ => ran.output.0.into_owned(),
    };
    let id = if ran.id.is_empty() { last_call.to_owned() } else { ran.id.0.into_owned() };
    let parts = vec![Part { kind: Some(Kind::Text(text)), ..Part::default() }];
    let is_error = is_code && !matches!(&*ran.outcome.0, "" | "OUTCOME_OK" | "1");
    ToolResult { tool_call_id: id, parts, is_error }
}
