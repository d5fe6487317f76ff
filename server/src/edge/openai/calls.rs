//! Calls of tools as OpenAI writes them, whole and in pieces.

use serde::Serialize;
use tollgate_api::v1::{ToolCall, tool_call::Input};

use super::tokens::Extra;

/// A call, or a piece of one.
#[derive(Serialize)]
pub(super) struct Call<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    #[serde(flatten)]
    tool: CalledTool<'a>,
    /// What the provider wants back with the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<Extra>,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum CalledTool<'a> {
    Function {
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        arguments: &'a str,
    },
    Custom {
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'a str>,
        input: &'a str,
    },
}

impl<'a> Call<'a> {
    /// Shows a call whole, or, with an index, as the first delta of one.
    pub(super) fn whole(index: Option<usize>, call: &'a ToolCall) -> Self {
        let (name, id) = (Some(call.name.as_str()), Some(call.id.as_str()));
        match &call.input {
            Some(Input::Text(input)) => {
                let tool = CalledTool::Custom { name, input };
                Self { index, id, r#type: Some("custom"), tool, extra_content: None }
            }
            Some(Input::ArgumentsJson(arguments)) => Self::function(index, id, name, arguments),
            None => Self::function(index, id, name, ""),
        }
    }

    fn function(
        index: Option<usize>,
        id: Option<&'a str>,
        name: Option<&'a str>,
        arguments: &'a str,
    ) -> Self {
        let tool = CalledTool::Function { name, arguments };
        Self { index, id, r#type: Some("function"), tool, extra_content: None }
    }

    /// Adds what the provider wants back with the call.
    pub(super) fn with(self, extra_content: Option<Extra>) -> Self {
        Self { extra_content, ..self }
    }

    /// Shows more input of a call: its id, type and name were in the first delta, and clients append.
    pub(super) fn more(index: usize, custom: bool, text: &'a str) -> Self {
        let tool = if custom {
            CalledTool::Custom { name: None, input: text }
        } else {
            CalledTool::Function { name: None, arguments: text }
        };
        Self { index: Some(index), id: None, r#type: None, tool, extra_content: None }
    }
}
