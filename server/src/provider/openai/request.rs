//! From the contract's request to OpenAI's JSON.

use tollgate_api::v1::{ChatInput, Sampling, output_format::Kind as Format};

use super::{
    message::{self, To},
    tools,
    translate::{self, Built, Lost, finite, json},
    write::{self, Object},
};
use crate::provider::{Error, Outgoing, refused, vendors::Vendor};

/// What no patch may touch: who answers, what is asked, streaming, and how many and how long the answers are.
const PROTECTED: [&str; 7] =
    ["model", "messages", "stream", "stream_options", "n", "max_tokens", "max_completion_tokens"];

/// Translates a request.
///
/// # Errors
/// `Unsupported` or an `INVALID_REQUEST` of the caller's, each with the field's path.
pub(super) fn build(
    input: &ChatInput,
    outgoing: &Outgoing<'_, ChatInput>,
    vendor: &Vendor,
) -> Result<Built, Error> {
    let mut lost = Lost::of(outgoing, "")?;
    let input = &*refused::without(input, vendor.refuses, &mut lost)?;
    let mut text = String::with_capacity(1024);
    let mut body = Object::begin(&mut text);
    body.string("model", outgoing.model);
    let to = To { provider: outgoing.provider, vendor, last: false };
    message::write_all(body.key("messages"), &input.messages, to, &mut lost)?;
    tools::write(&mut body, input, vendor, &mut lost)?;
    if let Some(sampling) = &input.sampling {
        sampling_members(&mut body, sampling, vendor, &mut lost)?;
    }
    body.int(vendor.max_tokens, outgoing.max_output_tokens(input));
    body.strings("stop", &input.stop);
    body.int("n", input.choice_count.map(i64::from));
    output(&mut body, input, &mut lost)?;
    reasoning(&mut body, input, &mut lost)?;
    service(&mut body, input, vendor, &mut lost)?;
    if outgoing.streamed {
        body.raw("stream", "true");
        if vendor.stream_options {
            body.raw("stream_options", r#"{"include_usage":true}"#);
        }
    }
    body.end();
    let (body, headers) = translate::apply(
        text,
        &input.provider_options,
        outgoing.provider,
        "input.provider_options",
        &PROTECTED,
    )?;
    Ok(Built { body, headers, warnings: lost.warnings })
}

fn sampling_members(
    body: &mut Object<'_>,
    sampling: &Sampling,
    vendor: &Vendor,
    lost: &mut Lost,
) -> Result<(), Error> {
    for (name, value, open) in [
        ("temperature", sampling.temperature, false),
        ("top_p", sampling.top_p, false),
        ("frequency_penalty", sampling.frequency_penalty, false),
        ("presence_penalty", sampling.presence_penalty, false),
        ("min_p", sampling.min_p, true),
        ("repetition_penalty", sampling.repetition_penalty, true),
        ("top_k", sampling.top_k.map(f64::from), true),
    ] {
        let field = format!("input.sampling.{name}");
        let Some(value) = finite(value, &field)? else { continue };
        if open && !vendor.open_sampling {
            lost.parameter(&field, "the provider has no such parameter")?;
        } else if name == "top_k" {
            body.int(name, sampling.top_k.map(i64::from));
        } else {
            body.double(name, Some(value));
        }
    }
    body.int(vendor.seed, sampling.seed);
    if sampling.logit_bias.is_empty() {
        return Ok(());
    }
    let mut biases: Vec<(&String, f64)> = sampling.logit_bias.iter().map(|(id, bias)| (id, *bias)).collect();
    biases.sort_unstable_by_key(|(id, _)| *id);
    let mut map = body.object("logit_bias");
    for (id, bias) in biases {
        map.double(id, finite(Some(bias), "input.sampling.logit_bias")?);
    }
    map.end();
    Ok(())
}

fn output(body: &mut Object<'_>, input: &ChatInput, lost: &mut Lost) -> Result<(), Error> {
    match input.output_format.as_ref().and_then(|format| format.kind.as_ref()) {
        None => {}
        Some(Format::Text(_)) => body.raw("response_format", r#"{"type":"text"}"#),
        Some(Format::JsonObject(_)) => body.raw("response_format", r#"{"type":"json_object"}"#),
        Some(Format::Grammar(_)) => {
            lost.parameter(
                "input.output_format.grammar",
                "OpenAI's API takes grammars for custom tools only",
            )?;
        }
        Some(Format::JsonSchema(format)) => {
            let schema = json(&format.schema_json, "input.output_format.json_schema.schema_json")?;
            let mut member = body.object("response_format");
            member.string("type", "json_schema");
            let mut inner = member.object("json_schema");
            inner.string("name", if format.name.is_empty() { "response" } else { &format.name });
            inner.text("description", &format.description);
            inner.raw("schema", schema);
            inner.bool("strict", format.strict);
            inner.end();
            member.end();
        }
    }
    body.strings("modalities", &input.output_modalities);
    if let Some(audio) = &input.audio {
        let mut member = body.object("audio");
        member.text("voice", &audio.voice);
        member.text("format", &audio.format);
        member.end();
    }
    if let Some(logprobs) = &input.logprobs {
        body.raw("logprobs", "true");
        body.int("top_logprobs", logprobs.top.map(i64::from));
    }
    if !input.prediction.is_empty() {
        let mut member = body.object("prediction");
        member.string("type", "content");
        message::texts(&mut member, &input.prediction, "input.prediction")?;
        member.end();
    }
    body.text("verbosity", &input.verbosity);
    Ok(())
}

fn reasoning(body: &mut Object<'_>, input: &ChatInput, lost: &mut Lost) -> Result<(), Error> {
    let Some(reasoning) = &input.reasoning else { return Ok(()) };
    body.text("reasoning_effort", &reasoning.effort);
    if reasoning.budget_tokens.is_some() {
        lost.parameter("input.reasoning.budget_tokens", "OpenAI's API knows efforts only; set `effort`")?;
    }
    if !reasoning.summary.is_empty() {
        lost.parameter("input.reasoning.summary", "OpenAI's chat API gives no summaries")?;
    }
    Ok(())
}

/// Writes who asks, at what class of service, and what is kept.
pub(super) fn service(
    body: &mut Object<'_>,
    input: &ChatInput,
    vendor: &Vendor,
    lost: &mut Lost,
) -> Result<(), Error> {
    body.text("service_tier", &input.service_tier);
    if !vendor.end_user.is_empty() {
        body.text(vendor.end_user, &input.end_user_id);
    } else if !input.end_user_id.is_empty() {
        lost.parameter("input.end_user_id", "the provider has no such parameter")?;
    }
    body.bool("store", input.store);
    if let Some(cache) = &input.prompt_cache {
        body.text("prompt_cache_key", &cache.key);
        if !cache.mode.is_empty() || !cache.ttl.is_empty() {
            let mut member = body.object("prompt_cache_options");
            member.text("mode", &cache.mode);
            member.text("ttl", &cache.ttl);
            member.end();
        }
    }
    if !input.metadata.is_empty() {
        let mut pairs: Vec<(&String, &String)> = input.metadata.iter().collect();
        pairs.sort_unstable();
        let mut map = body.object("metadata");
        for (name, value) in pairs {
            write::string(map.key(name), value);
        }
        map.end();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tollgate_api::v1;
    use uuid::Uuid;

    use super::*;
    use crate::{
        call::Payload,
        provider::{Kind, vendors},
    };

    fn built(input: ChatInput, vendor: &str, strict: bool) -> Result<Built, Error> {
        let payload = Payload::typed(input);
        let outgoing = Outgoing {
            call_id: Uuid::nil(),
            provider: "mine",
            model: "real",
            payload: &payload,
            streamed: false,
            usage_wanted: true,
            strict,
            traceparent: None,
            output_cap: None,
        };
        build(payload.view().unwrap(), &outgoing, vendors::find(vendor).unwrap())
    }

    fn body(input: ChatInput) -> String {
        built(input, "openai", true).unwrap().body
    }

    fn part(kind: v1::part::Kind) -> v1::Part {
        v1::Part { kind: Some(kind), ..v1::Part::default() }
    }

    fn text(text: &str) -> v1::Part {
        part(v1::part::Kind::Text(text.to_owned()))
    }

    fn message(role: v1::Role, parts: Vec<v1::Part>) -> v1::Message {
        v1::Message { role: role.into(), parts, name: String::new() }
    }

    fn says(input: ChatInput, expected: &str) {
        let body = body(input);
        assert!(body.contains(expected), "{expected} in {body}");
    }

    #[test]
    fn numbers_keep_their_form_and_parameters_their_names() {
        let sampling = Sampling { temperature: Some(0.7), seed: Some(i64::MAX), ..Sampling::default() };
        let input = ChatInput {
            sampling: Some(sampling),
            max_output_tokens: Some(9),
            choice_count: Some(2),
            stop: vec!["x".into()],
            end_user_id: "u".into(),
            ..ChatInput::default()
        };
        assert_eq!(
            body(input.clone()),
            format!(
                r#"{{"model":"real","messages":[],"temperature":0.7,"seed":{},"max_completion_tokens":9,"stop":["x"],"n":2,"safety_identifier":"u"}}"#,
                i64::MAX
            )
        );
        let together = built(input, "together", true).unwrap().body;
        assert!(together.contains(r#""max_tokens":9"#) && together.contains(r#""user":"u""#), "{together}");
    }

    #[test]
    fn what_openai_lacks_is_dropped_with_a_warning_or_refused() {
        let input = || ChatInput {
            sampling: Some(Sampling { top_k: Some(5), ..Sampling::default() }),
            ..ChatInput::default()
        };
        let dropped = built(input(), "openai", false).unwrap();
        assert!(!dropped.body.contains("top_k"));
        assert_eq!(
            (dropped.warnings[0].code.as_str(), dropped.warnings[0].field.as_str()),
            ("parameter_dropped", "input.sampling.top_k")
        );
        let refused = built(input(), "openai", true).unwrap_err();
        assert_eq!(
            (refused.kind, refused.field.as_deref()),
            (Kind::Unsupported, Some("input.sampling.top_k"))
        );
        assert!(built(input(), "compatible", true).unwrap().body.contains(r#""top_k":5"#));
    }

    #[test]
    fn infinity_is_an_invalid_request() {
        let sampling = Sampling { min_p: Some(f64::NAN), ..Sampling::default() };
        let error = built(ChatInput { sampling: Some(sampling), ..ChatInput::default() }, "openai", false)
            .unwrap_err();
        assert_eq!(error.caller.unwrap().facts().field.as_deref(), Some("input.sampling.min_p"));
    }

    #[test]
    fn schemas_keep_the_order_of_their_members() {
        let schema = r#"{"z":1,"a":{"y":0.10,"b":2}}"#;
        let function = v1::FunctionTool {
            name: "f".into(),
            parameters_json_schema: schema.into(),
            strict: Some(true),
            ..Default::default()
        };
        let tool = v1::Tool { kind: Some(v1::tool::Kind::Function(function)), cache_breakpoint: None };
        says(
            ChatInput { tools: vec![tool.clone()], ..ChatInput::default() },
            &format!(
                r#""tools":[{{"type":"function","function":{{"name":"f","parameters":{schema},"strict":true}}}}]"#
            ),
        );
        let choice =
            v1::ToolChoice { mode: v1::tool_choice::Mode::Required.into(), tool_names: vec!["f".into()] };
        says(
            ChatInput { tools: vec![tool], tool_choice: Some(choice), ..ChatInput::default() },
            r#""tool_choice":{"type":"function","function":{"name":"f"}}"#,
        );
    }

    #[test]
    fn a_conversation_with_tools_and_media_is_written() {
        let call = v1::ToolCall {
            id: "c1".into(),
            name: "f".into(),
            input: Some(v1::tool_call::Input::ArgumentsJson("{\"a\":1}".into())),
            executed_upstream: false,
        };
        let result = v1::ToolResult { tool_call_id: "c1".into(), parts: vec![text("42")], is_error: false };
        let image = v1::Media {
            mime_type: "image/png".into(),
            source: Some(v1::media::Source::Data(bytes::Bytes::from_static(b"abc"))),
            detail: "low".into(),
            ..Default::default()
        };
        let messages = vec![
            message(v1::Role::Developer, vec![text("be brief")]),
            message(v1::Role::User, vec![text("look"), part(v1::part::Kind::Media(Box::new(image)))]),
            message(
                v1::Role::Assistant,
                vec![
                    part(v1::part::Kind::Thought(v1::Thought::default())),
                    part(v1::part::Kind::ToolCall(call)),
                ],
            ),
            message(v1::Role::Tool, vec![part(v1::part::Kind::ToolResult(Box::new(result)))]),
        ];
        let built = built(ChatInput { messages, ..ChatInput::default() }, "openai", true).unwrap();
        let expected = concat!(
            r#"{"model":"real","messages":[{"role":"developer","content":"be brief"},"#,
            r#"{"role":"user","content":[{"type":"text","text":"look"},"#,
            r#"{"type":"image_url","image_url":{"url":"data:image/png;base64,YWJj","detail":"low"}}]},"#,
            r#"{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},"#,
            r#"{"role":"tool","tool_call_id":"c1","content":"42"}]}"#,
        );
        assert_eq!(built.body, expected);
        assert_eq!(built.warnings[0].code, "continuity_dropped");
    }

    #[test]
    fn reasoning_goes_back_the_way_it_came() {
        let continuity =
            |token: &'static str| Some(v1::Continuity { provider: "mine".into(), token: token.into() });
        let thought = |token| v1::Part {
            kind: Some(v1::part::Kind::Thought(v1::Thought { text: "hm".into(), ..Default::default() })),
            continuity: continuity(token),
            ..Default::default()
        };
        let with =
            |parts| ChatInput { messages: vec![message(v1::Role::Assistant, parts)], ..ChatInput::default() };
        says(
            with(vec![thought(r#"[{"type":"reasoning.text"}]"#), text("a")]),
            r#""reasoning_details":[{"type":"reasoning.text"}]"#,
        );
        let call = v1::ToolCall { id: "c".into(), name: "f".into(), ..Default::default() };
        let call = part(v1::part::Kind::ToolCall(call));
        says(with(vec![thought("reasoning_content"), call]), r#""reasoning_content":"hm""#);
        assert!(!body(with(vec![thought("reasoning_content"), text("a")])).contains("reasoning"));
    }
}
