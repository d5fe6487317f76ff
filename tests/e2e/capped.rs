//! A call whose caller caps its cost goes only where it surely costs no more.

use serde_json::json;
use tollgate_api::v1::{self, chat_service_client::ChatServiceClient};
use tonic_types::StatusExt as _;

use crate::{
    input,
    once::counting,
    records,
    support::{Gateway, KEY},
};

#[tokio::test]
async fn a_capped_call_goes_only_where_it_fits() {
    let (dear, cheap) = (counting().await, counting().await);
    let gateway = Gateway::start(&format!(
        "providers:\n{}{}models:\n  m:\n    targets: [{{ provider: dear, model: m-1 }}]\n    fallbacks: [n]\n    \
         price: {{ input_per_million: 100, output_per_million: 100 }}\n  n:\n    targets: [{{ provider: cheap, model: m-2 }}]\n    \
         price: {{ input_per_million: 1, output_per_million: 1 }}\n",
        dear.provider("dear"),
        cheap.provider("cheap")
    ));
    let mut client = ChatServiceClient::new(gateway.channel(KEY).await);
    let request = |cap| {
        let mut input = input("m");
        input.max_output_tokens = Some(100);
        let options = v1::CallOptions { max_cost_nanos: Some(cap), ..Default::default() };
        v1::CompleteRequest { input: Some(input), options: Some(options) }
    };
    // 100 tokens of output and about 20 of input: 12,000,000 nano-USD at the dear one, 120,000 at the cheap one.
    for (cap, target) in [(20_000_000, "dear/m-1"), (200_000, "cheap/m-2")] {
        let answer = client.complete(request(cap)).await.unwrap().into_inner();
        assert_eq!(answer.route.unwrap().target, target);
        assert!(answer.usage.unwrap().cost.unwrap().amount_nanos <= cap);
    }
    let refused = client.complete(request(10_000)).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused:?}");
    let details = refused.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!(info.reason, "ERROR_REASON_COST_CAP_EXCEEDED");
    assert_eq!(info.metadata["limit"], "10000");
    assert!(details.retry_info().is_none() && details.quota_failure().is_some());
    assert_eq!((dear.seen().len(), cheap.seen().len()), (1, 1));
    let refused = &records(&gateway).await[0];
    assert_eq!((&refused["error_reason"], &refused["attempts"]), (&json!("COST_CAP_EXCEEDED"), &json!([])));
}
