//! JSON content blocks to `v1::Part`.

use tollgate_api::v1::{
    Annotation, CacheBreakpoint, Continuity, Extension, Part, Thought, ToolCall, ToolResult, annotation,
    part, tool_call,
};

use super::{FAMILY, content::OF_PART, source};
use crate::{
    edge::{
        continuity,
        rest::node::{Node, Object},
    },
    error::Error,
};

/// Reads a content: a string or an array of blocks.
///
/// # Errors
/// `INVALID_REQUEST` with the path of what does not fit.
pub(super) fn content(node: &Node<'_>) -> Result<Vec<Part>, Error> {
    if node.is_string() {
        return Ok(vec![of(part::Kind::Text(node.text()?))]);
    }
    if !node.is_array() {
        return Err(node.refuse("must be a string or an array"));
    }
    let mut parts = Vec::new();
    for block in node.elements()? {
        read(&block, &mut parts)?;
    }
    Ok(parts)
}

/// Takes the mark of a prompt cache out of a block or a tool.
///
/// # Errors
/// As `content`.
pub(super) fn breakpoint(object: &mut Object<'_>) -> Result<Option<CacheBreakpoint>, Error> {
    let Some(node) = object.take("cache_control") else { return Ok(None) };
    let mut mark = node.object()?;
    let breakpoint = CacheBreakpoint { ttl: mark.text_or_empty("ttl")? };
    mark.end(&["type"]);
    Ok(Some(breakpoint))
}

/// Makes a part that is nothing but its content.
pub(super) fn of(kind: part::Kind) -> Part {
    Part { kind: Some(kind), ..Default::default() }
}

/// Reads one block, which may become several parts. The mark of the cache stands at the last one.
fn read(node: &Node<'_>, parts: &mut Vec<Part>) -> Result<(), Error> {
    let mut object = node.object()?;
    let kind = object.need("type")?.text()?;
    let first = parts.len();
    match kind.as_str() {
        "text" => parts.push(text(&mut object)?),
        "image" => source::image(&mut object, parts)?,
        "document" => source::document(&mut object, parts)?,
        "thinking" => parts.push(thinking(&mut object)?),
        "redacted_thinking" => redacted(&object.need("data")?.text()?, parts),
        "tool_use" => parts.push(tool_use(&mut object)?),
        "tool_result" => parts.push(of(part::Kind::ToolResult(Box::new(tool_result(&mut object)?)))),
        _ => {
            // Whole, with its mark: Anthropic alone can read it.
            let json = node.json().to_owned();
            let provider = FAMILY.to_owned();
            parts.push(of(part::Kind::Extension(Extension { provider, r#type: kind, json })));
            return Ok(());
        }
    }
    let mark = breakpoint(&mut object)?;
    object.end(&["id"]);
    if let Some(last) = parts.get_mut(first..).and_then(<[_]>::last_mut) {
        last.cache_breakpoint = mark;
    }
    Ok(())
}

fn text(object: &mut Object<'_>) -> Result<Part, Error> {
    let mut part = of(part::Kind::Text(object.need("text")?.text()?));
    if let Some(citations) = object.take("citations") {
        part.annotations = citations.elements()?.iter().map(citation).collect::<Result<_, _>>()?;
    }
    Ok(part)
}

fn citation(node: &Node<'_>) -> Result<Annotation, Error> {
    let extension = Extension {
        provider: FAMILY.to_owned(),
        r#type: node.object()?.text_or_empty("type")?,
        json: node.json().to_owned(),
    };
    Ok(Annotation { kind: Some(annotation::Kind::Extension(extension)), ..Default::default() })
}

fn thinking(object: &mut Object<'_>) -> Result<Part, Error> {
    let text = object.need("thinking")?.text()?;
    let signature = object.text_or_empty("signature")?;
    let continuity = (!signature.is_empty()).then(|| continuity::decode(&signature, FAMILY));
    Ok(Part { continuity, ..of(part::Kind::Thought(Thought { text, ..Default::default() })) })
}

/// Reads an encrypted thought, or the token of the part before it that `stream` and `answer` put into one.
fn redacted(data: &str, parts: &mut Vec<Part>) {
    let token = continuity::decode(data, FAMILY);
    if let Some(provider) = token.provider.strip_prefix(OF_PART) {
        let token = Continuity { provider: provider.to_owned(), token: token.token };
        if let Some(part) = parts.last_mut() {
            part.continuity = Some(token);
        }
        return;
    }
    let thought = Thought { redacted: token.token.clone(), ..Default::default() };
    parts.push(Part { continuity: Some(token), ..of(part::Kind::Thought(thought)) });
}

/// Reads a call. Who made it, if not the model itself, is Anthropic's own business.
fn tool_use(object: &mut Object<'_>) -> Result<Part, Error> {
    let caller = object.take("caller").filter(|caller| caller.json() != r#"{"type":"direct"}"#);
    let continuity = caller.map(|caller| Continuity {
        provider: FAMILY.to_owned(),
        token: caller.json().as_bytes().to_vec().into(),
    });
    let input = object.take("input").map_or_else(|| "{}".to_owned(), |node| node.json().to_owned());
    let call = ToolCall {
        id: object.need("id")?.text()?,
        name: object.need("name")?.text()?,
        input: Some(tool_call::Input::ArgumentsJson(input)),
        executed_upstream: false,
    };
    Ok(Part { continuity, ..of(part::Kind::ToolCall(call)) })
}

fn tool_result(object: &mut Object<'_>) -> Result<ToolResult, Error> {
    Ok(ToolResult {
        tool_call_id: object.need("tool_use_id")?.text()?,
        parts: object.take("content").map(|node| content(&node)).transpose()?.unwrap_or_default(),
        is_error: object.flag("is_error")?.unwrap_or(false),
    })
}
