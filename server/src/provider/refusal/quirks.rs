//! Tests of vendors' errors as they were seen in recorded traffic, each named as in the list of quirks.

use std::time::Duration;

use super::*;

fn classified(status: u16, body: &'static str) -> Error {
    let status = StatusCode::from_u16(status).unwrap();
    of_response(status, &HeaderMap::new(), Bytes::from_static(body.as_bytes()))
}

/// Tells kind, message, type, code and field.
fn told(status: u16, body: &'static str) -> (Kind, String, String, String, Option<String>) {
    let error = classified(status, body);
    (error.kind, error.message, error.upstream_type, error.upstream_code, error.field)
}

const LIMITED: Kind = Kind::RateLimited { retry_after: None };

#[test]
fn az_error_string_code_is_read_without_type_or_param() {
    let denied = r#"{"error":{"code":"401","message":"Access denied due to invalid subscription key."}}"#;
    let (kind, message, r#type, code, field) = told(401, denied);
    assert_eq!((kind, r#type.as_str(), code.as_str(), field), (Kind::Denied, "", "401", None));
    assert_eq!(message, "Access denied due to invalid subscription key.");
    assert_eq!(of_payload(denied.as_bytes()).kind, Kind::Denied, "in a stream the code is all there is");
    let missing = r#"{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}"#;
    let (kind, _, _, code, _) = told(404, missing);
    assert_eq!((kind, code.as_str()), (Kind::Invalid, "DeploymentNotFound"));
    let model = r#"{"error":{"code":"Invalid input","details":[{"loc":["body","tool_choice"],"msg":"Input should be a valid string"}],"message":"invalid input error","status":422}}"#;
    let error = classified(422, model);
    assert_eq!((error.kind, error.upstream_code.as_str()), (Kind::Invalid, "Invalid input"));
    assert_eq!(error.message, "invalid input error");
    assert_eq!(error.body.as_deref(), Some(model.as_bytes()), "the details are for the caller");
}

#[test]
fn oa_401_key_echo_reaches_nobody() {
    for echo in [
        "Incorrect API key provided: test. You can find your API key at https://platform.openai.com.",
        "Incorrect API key provided: <not-a-r****key>. You can find it at https://platform.openai.com.",
        "Incorrect API key provided: sk-wrong****-key. You can find it at https://platform.openai.com.",
        "Incorrect API key provided: test-key***enai. You can find it at https://platform.openai.com.",
        "Authentication Fails, Your api key: wrong-key is invalid",
    ] {
        let body = format!(r#"{{"error":{{"message":"{echo}","type":"x","code":"invalid_api_key"}}}}"#);
        let whole = of_response(StatusCode::UNAUTHORIZED, &HeaderMap::new(), body.clone().into());
        for error in [whole, of_payload(body.as_bytes())] {
            assert_eq!((error.kind, &error.body), (Kind::Denied, &None), "{echo}");
            assert!(error.message.contains("[redacted]"), "{}", error.message);
            let logged = format!("{error:?}");
            for part in [": test.", "not-a-r", "sk-wrong", "test-key", "wrong-key"] {
                assert!(!logged.contains(part), "{part} in {logged}");
            }
        }
    }
    let other = told(400, r#"{"error":{"message":"Invalid value provided: 'x'"}}"#);
    assert_eq!(other.1, "Invalid value provided: 'x'", "only keys are secret");
}

#[test]
fn oa_403_sample_without_a_code_is_a_denial() {
    let body = r#"{"error":{"code":null,"message":"You are not allowed to sample from this model","param":null,"type":"invalid_request_error"}}"#;
    let (kind, message, _, code, _) = told(403, body);
    assert_eq!((kind, code.as_str()), (Kind::Denied, ""));
    assert_eq!(message, "You are not allowed to sample from this model");
}

#[test]
fn oa_404_unsupported_keeps_the_words_that_say_what_is_missing() {
    for (body, message, code, field) in [
        (
            r#"{"error":{"code":null,"message":"This is not a chat model.","param":"model","type":"invalid_request_error"}}"#,
            "This is not a chat model.",
            "",
            Some("model"),
        ),
        (
            r#"{"error":{"message":"The model `m` has been deprecated","type":"invalid_request_error","param":null,"code":"model_not_found"}}"#,
            "The model `m` has been deprecated",
            "model_not_found",
            None,
        ),
    ] {
        let error = classified(404, body);
        assert_eq!((error.kind, error.http_status, error.message.as_str()), (Kind::Invalid, 404, message));
        assert_eq!((error.upstream_code.as_str(), error.field.as_deref()), (code, field));
        assert_eq!(error.body.as_deref(), Some(body.as_bytes()), "the caller reads it as it came");
    }
}

#[test]
fn oa_context_length_is_its_own_kind_by_code_or_by_words() {
    for body in [
        r#"{"error":{"message":"Your input exceeds the context window of this model.","type":"invalid_request_error","param":"input","code":"context_length_exceeded"}}"#,
        r#"{"error":{"message":"x","type":"invalid_request_error","code":"context_length_exceeded"}}"#,
        r#"{"error":{"message":"Your input exceeds the context window of this model.","type":"invalid_request_error","code":null}}"#,
    ] {
        assert_eq!(classified(400, body).kind, Kind::ContextLength, "{body}");
        assert_eq!(of_payload(body.as_bytes()).kind, Kind::ContextLength, "{body}");
    }
}

#[test]
fn oa_quota_is_no_rate_limit_because_a_retry_is_useless() {
    let body = r#"{"error":{"type":"insufficient_quota","code":"insufficient_quota","message":"You exceeded your current quota, please check your plan and billing details."}}"#;
    assert_eq!(classified(429, body).kind, Kind::Denied);
    assert_eq!(of_payload(body.as_bytes()).kind, Kind::Denied);
}

#[test]
fn oa_unsupported_param_names_its_field() {
    for (body, code, field) in [
        (
            r#"{"error":{"message":"Unsupported parameter: 'stop' is not supported with this model.","type":"invalid_request_error","param":"stop","code":"unsupported_parameter"}}"#,
            "unsupported_parameter",
            "stop",
        ),
        (
            r#"{"error":{"message":"Unsupported value: 'minimal' is not supported with the 'o4-mini' model.","type":"invalid_request_error","param":"reasoning.effort","code":"unsupported_value"}}"#,
            "unsupported_value",
            "reasoning.effort",
        ),
    ] {
        let (kind, message, _, told_code, told_field) = told(400, body);
        assert_eq!((kind, told_code.as_str(), told_field.as_deref()), (Kind::Invalid, code, Some(field)));
        assert!(message.starts_with("Unsupported "), "{message}");
    }
}

#[test]
fn ge_400_bad_key_is_a_denial_and_no_fault_of_the_request() {
    let body = r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"},{"@type":"type.googleapis.com/google.rpc.LocalizedMessage","locale":"en-US","message":"API key not valid."}]}}"#;
    assert_eq!(classified(400, body).kind, Kind::Denied);
    // The reason tells it whatever the words are.
    let reason = body.replace("API key not valid", "Der API-Schlüssel ist ungültig");
    assert_eq!(of_payload(reason.as_bytes()).kind, Kind::Denied);
}

#[test]
fn ge_429_retryinfo_in_the_body_is_the_wait() {
    let body = r#"{"error":{"code":429,"message":"You exceeded your current quota, please check your plan.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"PerMinute"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34.4s"}]}}"#;
    let wait = Kind::RateLimited { retry_after: Some(Duration::from_millis(34_400)) };
    assert_eq!(classified(429, body).kind, wait);
    assert_eq!(of_payload(body.as_bytes()).kind, wait);
}

#[test]
fn gr_tool_failed_keeps_what_the_model_wrote() {
    let body = r#"{"error":{"code":"tool_use_failed","failed_generation":"maybe","message":"Tool choice is required, but model did not call a tool","type":"invalid_request_error"}}"#;
    let error = classified(400, body);
    assert_eq!((error.kind, error.upstream_code.as_str()), (Kind::Invalid, "tool_use_failed"));
    assert_eq!(error.body.as_deref(), Some(body.as_bytes()), "SDKs repair the call by `failed_generation`");
    let late = of_payload(br#"{"error":{"message":"no call","type":"invalid_request_error","code":"tool_use_failed","failed_generation":"","status_code":400}}"#);
    assert_eq!((late.kind, late.upstream_code.as_str()), (Kind::Invalid, "tool_use_failed"));
}

#[test]
fn ds_error_code_gives_way_to_the_type() {
    let body = r#"{"error":{"message":"Authentication Fails, Your api key: ****wxyz is invalid","type":"authentication_error","param":null,"code":"invalid_request_error"}}"#;
    for error in [classified(401, body), of_payload(body.as_bytes())] {
        assert_eq!((error.kind, error.upstream_type.as_str()), (Kind::Denied, "authentication_error"));
        assert_eq!(error.message, "Authentication Fails, Your api key: [redacted] is invalid");
    }
    let long = r#"{"error":{"message":"This model's maximum context length is 1048565 tokens. However, you requested 1250025 tokens.","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}"#;
    assert_eq!(classified(400, long).kind, Kind::ContextLength);
}

#[test]
fn co_error_is_its_message_alone() {
    let (kind, message, _, code, _) =
        told(404, r#"{"id":"8bd5b608","message":"model 'nonexistent' not found"}"#);
    assert_eq!((kind, message.as_str(), code.as_str()), (Kind::Invalid, "model 'nonexistent' not found", ""));
    let long = r#"{"id":"x","message":"too many tokens: size limit exceeded by 111 tokens","error_type":"bad_request"}"#;
    assert_eq!(classified(400, long).kind, Kind::ContextLength);
    assert_eq!(classified(400, long).upstream_type, "bad_request");
    assert_eq!(classified(401, r#"{"id":"x","message":"invalid api token"}"#).kind, Kind::Denied);
    assert_eq!(classified(429, r#"{"message":"You are using a Trial key"}"#).kind, LIMITED);
}

#[test]
fn mi_error_is_a_detail_or_an_object_of_its_own() {
    for (status, body, kind, message) in [
        (401, r#"{"detail":"Invalid API Key"}"#, Kind::Denied, "Invalid API Key"),
        (
            422,
            r#"{"detail":[{"type":"missing","loc":["body","messages"],"msg":"Field required"}]}"#,
            Kind::Invalid,
            "Field required",
        ),
        (
            429,
            r#"{"object":"error","message":"Rate limit exceeded","type":"rate_limited","param":null,"code":"1300"}"#,
            LIMITED,
            "Rate limit exceeded",
        ),
    ] {
        let error = classified(status, body);
        assert_eq!((error.kind, error.message.as_str()), (kind, message));
    }
}

#[test]
fn ol_error_is_a_text_or_an_object() {
    let (kind, message, ..) = told(404, r#"{"error":"model 'x' not found, try pulling it first"}"#);
    assert_eq!((kind, message.as_str()), (Kind::Invalid, "model 'x' not found, try pulling it first"));
    let object = r#"{"error":{"message":"prompt too long; exceeded max context length by 1119046 tokens","type":"invalid_request_error","param":null,"code":null}}"#;
    assert_eq!(classified(400, object).kind, Kind::ContextLength);
}

#[test]
fn xa_error_shape_has_a_text_for_an_error_and_a_400_for_a_bad_key() {
    let body = r#"{"code":"invalid-argument","error":"Incorrect API key provided. You can obtain an API key from https://console.x.ai."}"#;
    for error in [classified(400, body), of_payload(body.as_bytes())] {
        assert_eq!((error.kind, error.upstream_code.as_str()), (Kind::Denied, "invalid-argument"));
        assert!(error.message.starts_with("Incorrect API key provided. You can"), "{}", error.message);
        assert_eq!(error.body, None);
    }
}

#[test]
fn or_429_of_the_provider_behind_is_a_rate_limit_in_its_words() {
    let body = r#"{"error":{"code":429,"message":"Provider returned error","metadata":{"provider_name":"Google","raw":"google/gemini-2.0-flash-exp:free is temporarily rate-limited upstream. Please retry shortly, or add your own key"}},"user_id":"u"}"#;
    for error in [classified(429, body), of_payload(body.as_bytes())] {
        assert_eq!(error.kind, LIMITED);
        assert!(
            error.message.starts_with("Provider returned error: google/gemini-2.0-flash-exp:free is temp"),
            "{}",
            error.message
        );
    }
}

#[test]
fn or_error_nested_is_read_as_the_providers_own() {
    let parameter = r#"{"error":{"code":400,"message":"Provider returned error","metadata":{"provider_name":"OpenAI","raw":"{\n  \"error\": {\n    \"message\": \"Unsupported parameter: 'temperature' is not supported with this model.\",\n    \"type\": \"invalid_request_error\",\n    \"param\": \"temperature\",\n    \"code\": null\n  }\n}"}},"user_id":"u"}"#;
    let (kind, message, r#type, code, field) = told(400, parameter);
    assert_eq!((kind, r#type.as_str(), code.as_str()), (Kind::Invalid, "invalid_request_error", "400"));
    assert_eq!(field.as_deref(), Some("temperature"));
    assert_eq!(
        message,
        "Provider returned error: Unsupported parameter: 'temperature' is not supported with this model."
    );
    let policy = r#"{"error":{"code":403,"message":"Provider returned error","metadata":{"provider_name":"xAI","raw":"{\"code\":\"The caller does not have permission to execute the specified operation\",\"error\":\"Content violates usage guidelines.\"}"}}}"#;
    let (kind, message, ..) = told(403, policy);
    assert_eq!(kind, Kind::ContentPolicy);
    assert_eq!(message, "Provider returned error: Content violates usage guidelines.");
    let long = r#"{"error":{"code":400,"message":"Provider returned error","metadata":{"raw":"{\"error\":{\"message\":\"no\",\"code\":\"context_length_exceeded\"}}"}}}"#;
    assert_eq!(classified(400, long).kind, Kind::ContextLength);
    for odd in ["[]", "7", "{}", "null", "{\\\"error\\\":7}"] {
        let body = format!(r#"{{"error":{{"code":400,"message":"m","metadata":{{"raw":"{odd}"}}}}}}"#);
        assert_eq!(of_payload(body.as_bytes()).kind, Kind::Invalid, "{odd}");
    }
}
