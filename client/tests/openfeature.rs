//! What OpenFeature's SDK sees of a client.

#![cfg(feature = "openfeature")]

mod common;

use common::{ENVIRONMENT, LONG, Mode, Node, Truth, client, critical, flag, put, until};
use flagraft_client::{Status, openfeature::FlagraftProvider};
use open_feature::{
    EvaluationContext, EvaluationContextFieldValue, EvaluationErrorCode, EvaluationReason, FlagMetadataValue,
    OpenFeature, StructValue,
    provider::{FeatureProvider as _, ProviderStatus},
};
use serde_json::{Value, json};

#[tokio::test]
async fn the_sdk_gets_values_reasons_errors_and_the_status() {
    let of = |key: &str, flag_type: &str, value: Value| {
        json!({"key": key, "type": flag_type, "variants": {"v": value}, "metadata": {"team": "shop", "tier": 2},
            "environments": {ENVIRONMENT: {"enabled": true, "default": {"variant": "v"}}}})
    };
    let mut targeted = flag("targeted", false);
    let is_in = |attribute: &str, value: &str| json!({"attribute": attribute, "op": "eq", "values": [value]});
    let when = json!({"any": [is_in("user.plan", "pro"), {"attribute": "since", "op": "before", "values": ["2020-01-01T00:00:00Z"]}]});
    targeted["environments"][ENVIRONMENT]["rules"] =
        json!([{"id": "r", "when": when, "serve": {"variant": "on"}}]);
    let none = json!({"key": "none", "type": "boolean", "variants": {"v": true}, "environments": {ENVIRONMENT: {"enabled": true}}});
    let truth = Truth::new([put([
        flag("plain", true),
        critical("kill", true),
        targeted,
        of("string", "string", json!("text")),
        of("integer", "integer", json!(7)),
        of("number", "number", json!(1.5)),
        of("object", "object", json!({"a": [1, null, {"b": "c"}]})),
        none,
    ])]);
    let node = Node::start(&truth, Mode::Good).await;
    let flags = client(&[&node]).start().await.expect("started");
    let mut sdk = OpenFeature::default();
    sdk.set_provider(FlagraftProvider::new(flags.clone(), LONG)).await;
    assert_eq!(flags.status(), Status::Ready, "setting it waited");
    let ask = sdk.create_client();

    let details = ask.get_bool_details("plain", None, None).await.expect("a value");
    assert_eq!((details.value, details.variant.as_deref()), (true, Some("on")));
    assert_eq!(details.reason, Some(EvaluationReason::Static));
    let metadata = &details.flag_metadata.values;
    assert_eq!(metadata["flagSetId"], FlagMetadataValue::String("demo/dev".to_owned()));
    assert_eq!(metadata["consistency"], FlagMetadataValue::String("local".to_owned()));
    let string = ask.get_string_details("string", None, None).await.expect("a value");
    assert_eq!(string.value, "text");
    assert_eq!(string.flag_metadata.values["tier"], FlagMetadataValue::Int(2));
    assert_eq!(ask.get_int_value("integer", None, None).await, Ok(7));
    assert_eq!(ask.get_float_value("number", None, None).await, Ok(1.5));

    let plan = StructValue::default().with_field("plan", "pro");
    for context in [
        EvaluationContext::default().with_custom_field("user", EvaluationContextFieldValue::new_struct(plan)),
        EvaluationContext::default()
            .with_custom_field("user", EvaluationContextFieldValue::new_struct(json!({"plan": "pro"}))),
        EvaluationContext::default().with_targeting_key("u1").with_custom_field("user.plan", "pro"),
    ] {
        assert_eq!(ask.get_bool_value("targeted", Some(&context), None).await, Ok(true));
    }
    assert_eq!(ask.get_bool_value("targeted", None, None).await, Ok(false));
    let odd =
        EvaluationContext::default().with_custom_field("user", EvaluationContextFieldValue::new_struct(7_u8));
    for (key, context, code) in [
        ("no-such-flag", None, EvaluationErrorCode::FlagNotFound),
        ("string", None, EvaluationErrorCode::TypeMismatch),
        ("plain", Some(&odd), EvaluationErrorCode::InvalidContext),
        ("none", None, EvaluationErrorCode::General("GENERAL".to_owned())),
    ] {
        let error = ask.get_bool_value(key, context, None).await.expect_err(key);
        assert_eq!(error.code, code, "{key}");
        assert!(error.message.is_some(), "{key}");
    }

    let provider = FlagraftProvider::new(flags.clone(), LONG);
    assert_eq!(provider.metadata().name, "flagraft");
    assert_eq!(provider.status(), ProviderStatus::Ready);
    let object =
        provider.resolve_struct_value("object", &EvaluationContext::default()).await.expect("a value");
    assert_eq!(object.value.fields["a"].as_array().map(Vec::len), Some(2), "there is no null");
    node.set(Mode::Status(401, None));
    until("the refusal", || provider.status() == ProviderStatus::Error).await;
    flags.shutdown().await;

    let early = client(&[&node]).start().await.expect("started");
    let provider = FlagraftProvider::new(early.clone(), LONG);
    let error =
        provider.resolve_bool_value("plain", &EvaluationContext::default()).await.expect_err("not ready");
    assert_eq!(error.code, EvaluationErrorCode::ProviderNotReady);
    early.shutdown().await;
}
