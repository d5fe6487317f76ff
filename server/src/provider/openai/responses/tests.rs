//! Tests of what the lanes share: which calls go by the Responses API.

use super::*;
use crate::provider::vendors;

fn way(vendor: &str, api: Option<&str>) -> Result<Option<Responses>, String> {
    let only: fn(&str, &str) -> bool = |vendor, model| vendor == "openai" && model == "o1-pro";
    Responses::new(vendors::find(vendor).unwrap(), api, Some(only))
}

#[test]
fn translated_calls_go_by_chat_unless_told_or_the_model_has_no_other_api() {
    let openai = vendors::find("openai").unwrap();
    let auto = way("openai", None).unwrap().unwrap();
    assert!(!auto.is_for(openai, "gpt-4o"));
    assert!(auto.is_for(openai, "o1-pro"));
    assert!(way("openai", Some("responses")).unwrap().unwrap().is_for(openai, "gpt-4o"));
    assert!(way("openai", Some("chat")).unwrap().is_none());
    assert!(way("compatible", None).unwrap().is_none());
    assert!(way("compatible", Some("responses")).unwrap().is_some());
    assert!(way("openai", Some("completions")).unwrap_err().contains("`completions`"));
}

#[test]
fn a_count_is_exact_and_one_that_says_nothing_is_a_bad_response() {
    let body = br#"{"object":"response.input_tokens","input_tokens":47}"#;
    let Item::Counted(counted) = counted(body, "m".to_owned()).unwrap() else { panic!() };
    assert_eq!((counted.input_tokens, counted.estimated, counted.model.as_str()), (47, false, "m"));
    for body in ["", "<html>", "{}", r#"{"input_tokens":-1}"#] {
        assert_eq!(
            super::counted(body.as_bytes(), String::new()).unwrap_err().kind,
            Kind::BadResponse,
            "{body}"
        );
    }
}
