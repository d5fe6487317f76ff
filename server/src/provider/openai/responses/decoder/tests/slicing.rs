//! Odd events in any slicing: no panic, and always the same answer.

use http_body_util::Full;
use proptest::prelude::*;

use super::*;
use crate::provider::openai::responses::express::Watch;

/// Events whose members are of the right and of the wrong types.
fn odd_events() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        "null",
        "7",
        "-1",
        "1e400",
        "\"x\"",
        "\"\"",
        "[]",
        "{}",
        "[null]",
        "[{}]",
        "true",
        "{\"type\":\"message\"}",
        "{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"f\",\"arguments\":\"{}\"}",
        "{\"type\":\"reasoning\",\"encrypted_content\":\"e\",\"summary\":[{\"text\":\"s\"}]}",
        "{\"type\":\"web_search_call\",\"id\":[]}",
    ]);
    let path = prop::sample::select(vec![
        "{\"type\":\"response.output_item.added\",\"output_index\":1,\"item\":@}",
        "{\"type\":\"response.output_item.added\",\"output_index\":0,\"item\":@}",
        "{\"type\":\"response.output_item.done\",\"output_index\":0,\"item\":@}",
        "{\"type\":\"response.output_item.done\",\"output_index\":1,\"item\":@}",
        "{\"type\":\"response.output_text.delta\",\"output_index\":0,\"delta\":\"a\",\"logprobs\":@}",
        "{\"type\":\"response.output_text.delta\",\"output_index\":@,\"content_index\":@,\"delta\":\"\u{e9}\"}",
        "{\"type\":\"response.function_call_arguments.delta\",\"output_index\":1,\"delta\":@}",
        "{\"type\":\"response.output_text.annotation.added\",\"annotation\":@}",
        "{\"type\":\"response.created\",\"response\":@}",
        "{\"type\":\"response.completed\",\"response\":{\"output\":[@,@],\"usage\":@,\"x\":@}}",
        "{\"type\":@,\"error\":@}",
        "@",
    ]);
    let event = (path, value).prop_map(|(path, value)| format!("data: {}\n\n", path.replace('@', value)));
    prop::collection::vec(event, 0..10).prop_map(|events| events.concat())
}

proptest! {
    #[test]
    fn no_answer_makes_a_lane_panic_and_no_slicing_changes_it(body in odd_events(), cuts in prop::collection::vec(0usize..2000, 0..6)) {
        let bytes = Bytes::from(body.clone());
        let all = format!("{:?}", followed(vec![bytes.clone()], &ChatInput::default()));
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let frames = cuts.windows(2).map(|pair| bytes.slice(pair[0]..pair[1])).collect();
        prop_assert_eq!(all, format!("{:?}", followed(frames, &ChatInput::default())));
        let lane = crate::provider::express::Express(Watch::default());
        let items: Items = Follow::new(Full::new(bytes), lane).collect().now_or_never().unwrap();
        let failures = items.iter().filter(|item| item.is_err()).count();
        prop_assert!(failures == 0 || (failures == 1 && items.last().is_some_and(Result::is_err)));
        let _ = whole(&body);
    }
}
