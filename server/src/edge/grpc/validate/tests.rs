//! What is refused, and under which name.

use bytes::Bytes;

use super::*;

fn text(text: &str) -> v1::Part {
    Kind::Text(text.to_owned()).into_part()
}

trait IntoPart {
    fn into_part(self) -> v1::Part;
}

impl IntoPart for Kind {
    fn into_part(self) -> v1::Part {
        v1::Part { kind: Some(self), ..Default::default() }
    }
}

fn says(role: v1::Role, parts: Vec<v1::Part>) -> v1::Message {
    v1::Message { role: role.into(), parts, name: String::new() }
}

fn valid() -> v1::ChatInput {
    let messages = vec![says(v1::Role::User, vec![text("hi")])];
    v1::ChatInput { model: "m".to_owned(), messages, ..Default::default() }
}

/// Returns the field that a request is refused for after a change.
fn refused(change: impl FnOnce(&mut v1::ChatInput)) -> String {
    let mut input = valid();
    change(&mut input);
    let error = chat(&input).expect_err("the request is wrong");
    error.facts().field.clone().unwrap()
}

#[test]
fn a_plain_request_and_a_tool_round_trip_pass() {
    chat(&valid()).unwrap();
    let mut input = valid();
    let arguments = tool_call::Input::ArgumentsJson("{\"a\": [1]}".to_owned());
    let call =
        v1::ToolCall { id: "c".into(), name: "f".into(), input: Some(arguments), ..Default::default() };
    let result = v1::ToolResult { tool_call_id: "c".into(), parts: vec![text("42")], ..Default::default() };
    input.messages.push(says(v1::Role::Assistant, vec![Kind::ToolCall(call).into_part()]));
    input.messages.push(says(v1::Role::Tool, vec![Kind::ToolResult(Box::new(result)).into_part()]));
    chat(&input).unwrap();
    assert_eq!(text_bytes(&input), 2 + 1 + 10 + 2);
}

#[test]
fn what_the_model_reads_beside_the_messages_counts_as_prompt() {
    let mut input = valid();
    let plain = text_bytes(&input);
    let schema = v1::JsonSchemaFormat {
        name: "abc".into(),
        description: "de".into(),
        schema_json: "{}".into(),
        ..Default::default()
    };
    input.output_format = Some(v1::OutputFormat { kind: Some(output_format::Kind::JsonSchema(schema)) });
    let function = v1::FunctionTool {
        name: "f".into(),
        description: "gh".into(),
        parameters_json_schema: "{\"a\":1}".into(),
        ..Default::default()
    };
    input.tools.push(v1::Tool { kind: Some(tool::Kind::Function(function)), ..Default::default() });
    assert_eq!(text_bytes(&input), plain + 7 + 10);
}

#[test]
fn each_refusal_names_its_field() {
    assert_eq!(refused(|input| input.model.clear()), "input.model");
    assert_eq!(refused(|input| input.messages.clear()), "input.messages");
    assert_eq!(refused(|input| input.messages[0].role = 0), "input.messages[0].role");
    assert_eq!(refused(|input| input.messages[0].role = 77), "input.messages[0].role");
    assert_eq!(refused(|input| input.messages[0].parts.clear()), "input.messages[0].parts");
    assert_eq!(refused(|input| input.choice_count = Some(1_000_000_000)), "input.choice_count");
    for tokens in [-1, 0, 1 << 31, i64::MAX] {
        assert_eq!(refused(|input| input.max_output_tokens = Some(tokens)), "input.max_output_tokens");
    }
    assert_eq!(refused(|input| input.stop = vec!["x".to_owned(); 17]), "input.stop");
    assert_eq!(
        refused(|input| input.logprobs = Some(v1::LogprobOptions { top: Some(21) })),
        "input.logprobs.top"
    );
}

#[test]
fn numbers_must_be_finite_and_in_range() {
    for temperature in [f64::NAN, f64::INFINITY, -0.1, 2.1] {
        let sampling = v1::Sampling { temperature: Some(temperature), ..Default::default() };
        assert_eq!(refused(|input| input.sampling = Some(sampling)), "input.sampling.temperature");
    }
    let bias = [("12".to_owned(), f64::NAN)].into();
    let sampling = v1::Sampling { logit_bias: bias, ..Default::default() };
    assert_eq!(refused(|input| input.sampling = Some(sampling)), "input.sampling.logit_bias");
}

#[test]
fn parts_stand_where_their_kind_belongs() {
    let data = v1::media::Source::Data(Bytes::from_static(b"x"));
    let media = v1::Media { source: Some(data), ..Default::default() };
    let media = Kind::Media(Box::new(media)).into_part();
    assert_eq!(
        refused(|input| input.messages[0].parts.push(media)),
        "input.messages[0].parts[1].media.mime_type"
    );
    let thought = Kind::Thought(v1::Thought::default()).into_part();
    assert_eq!(refused(|input| input.messages[0].parts.push(thought)), "input.messages[0].parts[1]");
    let tool = says(v1::Role::Tool, vec![text("42")]);
    assert_eq!(refused(|input| input.messages.push(tool)), "input.messages[1].parts[0]");
}

#[test]
fn json_must_be_whole_and_an_object_where_one_is_meant() {
    let function = |schema: &str| {
        let function = v1::FunctionTool {
            name: "f".into(),
            parameters_json_schema: schema.to_owned(),
            ..Default::default()
        };
        v1::Tool { kind: Some(tool::Kind::Function(function)), ..Default::default() }
    };
    for schema in ["{", "[]", "{} {}", "nul"] {
        assert_eq!(
            refused(|input| input.tools.push(function(schema))),
            "input.tools[0].function.parameters_json_schema",
            "{schema}"
        );
    }
    assert_eq!(refused(|input| input.tools = vec![function("{}"), function("")]), "input.tools[1]");
    let deep = "[".repeat(200_000);
    let options = v1::ProviderOptions { body_json: deep, ..Default::default() };
    assert_eq!(refused(|input| input.provider_options.push(options)), "input.provider_options[0].body_json");
}

#[test]
fn embeddings_need_a_model_and_something_to_embed() {
    let one = |kind| v1::EmbedRequest {
        model: "m".to_owned(),
        inputs: vec![v1::EmbedInput { kind }],
        ..Default::default()
    };
    let field = |request: &v1::EmbedRequest| embed(request).unwrap_err().facts().field.clone().unwrap();
    embed(&one(Some(embed_input::Kind::Text("x".into())))).unwrap();
    assert_eq!(field(&one(None)), "inputs[0]");
    embed(&one(Some(embed_input::Kind::Text(String::new())))).unwrap();
    let ids = v1::TokenIds { ids: vec![1, -1] };
    assert_eq!(field(&one(Some(embed_input::Kind::TokenIds(ids)))), "inputs[0].token_ids");
    assert_eq!(field(&v1::EmbedRequest::default()), "model");
}

#[test]
fn options_that_nobody_would_heed_are_refused() {
    let asked = |asked: v1::CallOptions| options(Some(&asked)).unwrap_err().reason();
    let cap = v1::CallOptions { max_cost_nanos: Some(1), ..Default::default() };
    assert!(options(Some(&cap)).is_ok(), "a cap is heeded");
    let guard = v1::CallOptions { guardrails: vec!["pii".into()], ..Default::default() };
    assert_eq!(asked(guard), crate::error::Reason::InvalidRequest);
    let hints = v1::RouteHints { denied_providers: vec!["p".into()], ..Default::default() };
    let route = v1::CallOptions { route: Some(hints), ..Default::default() };
    assert!(options(Some(&route)).is_ok(), "hints are heeded");
    assert!(options(Some(&v1::CallOptions::default())).is_ok());
}
